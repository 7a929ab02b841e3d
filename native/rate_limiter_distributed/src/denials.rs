//! Denials that are known to last: asked again meanwhile, the same call need not travel.
//!
//! A denial says when the call can succeed, and nobody but a refund or a reset makes that earlier. So it holds until
//! then, a second at most since another node may refund or reset too, counted from when the call was sent; this node's
//! own refunds and resets end it at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use rate_limiter_core::{Key, Nanos};

/// However long it lasts, a denial is asked for again after this time.
const LONGEST: Nanos = Nanos(1_000_000_000);

/// Keys that have a place each, and denials that are known of one.
const PLACES: usize = 1 << 12;
const WAYS: usize = 4;

/// A table of fixed size, in which a new denial takes an old one's place.
///
/// Read and written without a lock: an entry is two words, of which the first is the fingerprint turned by the second,
/// so that halves of different entries match nothing (Hyatt and Mann 2002, "A lockless transposition table").
#[derive(Debug, Default)]
pub(crate) struct Denials(OnceLock<Box<[Place]>>);

/// One key's denials, in a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place([Entry; WAYS]);

#[derive(Debug, Default)]
struct Entry {
    turned: AtomicU64,
    until: AtomicU64,
}

/// Names a call, but for its key's place: its key, windows, cost, the limits' version and the scale, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) u64);

impl Denials {
    /// Whether such a call was denied, and still would be.
    pub(crate) fn hold(&self, key: Key, call: Fingerprint, elapsed: Nanos) -> bool {
        self.0.get().is_some_and(|places| {
            let mut entries = places[key.spread() % PLACES].0.iter();
            entries.any(|entry| {
                let (turned, until) = entry.load();
                turned ^ until == call.0 && elapsed.0 < until
            })
        })
    }

    /// A call that was sent at `sent` was denied, and can succeed after `wait`.
    pub(crate) fn keep(&self, key: Key, call: Fingerprint, sent: Nanos, wait: Nanos) {
        let places = self.0.get_or_init(|| {
            let places = std::iter::repeat_with(Place::default);
            places.take(PLACES).collect()
        });
        let until = sent.saturating_add(wait.min(LONGEST)).0;
        let entries = &places[key.spread() % PLACES].0;
        let same = entries.iter().find(|entry| {
            let (turned, until) = entry.load();
            turned ^ until == call.0
        });
        // Else the place of the one that ends first.
        let place = same.or_else(|| {
            entries
                .iter()
                .min_by_key(|entry| entry.until.load(Ordering::Relaxed))
        });
        if let Some(entry) = place {
            entry.turned.store(call.0 ^ until, Ordering::Relaxed);
            entry.until.store(until, Ordering::Relaxed);
        }
    }

    /// Ends what is known of the key, and of the few that share its place.
    pub(crate) fn end(&self, key: Key) {
        if let Some(places) = self.0.get() {
            for entry in &places[key.spread() % PLACES].0 {
                entry.until.store(0, Ordering::Relaxed);
                entry.turned.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.0.get().map_or(0, |places| size_of_val(&**places))
    }
}

impl Entry {
    fn load(&self) -> (u64, u64) {
        (
            self.turned.load(Ordering::Relaxed),
            self.until.load(Ordering::Relaxed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rate_limiter_core::Seed;

    const CALL: Fingerprint = Fingerprint(0x1234_5678_9ABC_DEF1);
    const OTHER: Fingerprint = Fingerprint(0x1234_5678_9ABC_DEF2);

    #[test]
    fn a_denial_holds_until_it_ends_for_this_call_alone() {
        let (denials, key) = (Denials::default(), Seed::fixed(1).key(b"somebody"));
        assert!(!denials.hold(key, CALL, Nanos(0)));
        denials.keep(key, CALL, Nanos(100), Nanos(50));
        assert!(denials.hold(key, CALL, Nanos(149)));
        assert!(!denials.hold(key, CALL, Nanos(150)));
        assert!(!denials.hold(key, OTHER, Nanos(149)));
        let stranger = Seed::fixed(1).key(b"somebody else");
        assert!(!denials.hold(stranger, CALL, Nanos(149)));
    }

    #[test]
    fn a_denial_of_an_hour_is_asked_for_again_after_a_second() {
        let (denials, key) = (Denials::default(), Seed::fixed(1).key(b"somebody"));
        denials.keep(key, CALL, Nanos(7), Nanos(3_600_000_000_000));
        assert!(denials.hold(key, CALL, Nanos(7 + LONGEST.0 - 1)));
        assert!(!denials.hold(key, CALL, Nanos(7 + LONGEST.0)));
    }

    #[test]
    fn what_ends_for_one_key_goes_on_for_others() {
        let seed = Seed::fixed(1);
        let (denials, key) = (Denials::default(), seed.key(b"somebody"));
        let other = (0..100_u8)
            .map(|id| seed.key(&[id]))
            .find(|other| other.spread() % PLACES != key.spread() % PLACES)
            .expect("a key in another place");
        denials.keep(key, CALL, Nanos(0), LONGEST);
        denials.keep(other, CALL, Nanos(0), LONGEST);
        denials.end(key);
        assert!(!denials.hold(key, CALL, Nanos(1)));
        assert!(denials.hold(other, CALL, Nanos(1)));
    }

    #[test]
    fn a_flood_of_denials_takes_no_more_memory_and_keeps_the_latest() {
        let (denials, key) = (Denials::default(), Seed::fixed(1).key(b"somebody"));
        denials.keep(key, CALL, Nanos(0), Nanos(10));
        let bytes = denials.bytes();
        for number in 0..100 {
            denials.keep(key, Fingerprint(number << 8), Nanos(number), Nanos(10));
        }
        assert_eq!(denials.bytes(), bytes);
        assert!(denials.hold(key, Fingerprint(99 << 8), Nanos(100)));
        assert!(!denials.hold(key, CALL, Nanos(1)));
    }
}
