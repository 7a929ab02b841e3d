//! Remembered denials: a request that is repeated before its denial ends needs no round trip.
//!
//! A denial holds until the request can succeed, which only a refund or a reset makes earlier. So it is remembered
//! until then, counted from when the request was made, but at most a second, since another node may refund or reset,
//! too. This node's own refunds and resets end it at once.
//!
//! The servers of an authority may have clocks that differ, and this node shows the clock of the latest reply. So a denial
//! holds only by the clock that it was made by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use rate_limiter_core::{Key, Nanos};

/// The longest time for which a denial is remembered.
const LONGEST: Nanos = Nanos(1_000_000_000);

/// Places of keys, and denials that one place holds.
const PLACES: usize = 1 << 12;
const WAYS: usize = 4;

/// Clocks are the same if their differences to this node's clock are equal but for these bits: to within 8 to 25 ms.
const CLOCK_BITS: u32 = 24;

/// A table of fixed size, in which a new denial replaces an old one.
///
/// It is read and written without a lock: an entry is two words, of which the first is the fingerprint combined with
/// the second by exclusive or. If a reader sees halves of two entries, their combination matches no fingerprint (Hyatt
/// and Mann 2002, "A lockless transposition table"), so all accesses can be relaxed.
#[derive(Debug, Default)]
pub(crate) struct Denials(OnceLock<Box<[Place]>>);

/// The denials of the keys with one hash: a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place([Entry; WAYS]);

#[derive(Debug, Default)]
struct Entry {
    mixed: AtomicU64,
    until: AtomicU64,
}

/// The hash of a request: its key, windows and cost, the version of the limits, and the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) u64);

impl Denials {
    /// Returns whether such a request was denied by this clock, and still would be.
    pub(crate) fn hold(&self, key: Key, request: Fingerprint, clock: u64, elapsed: Nanos) -> bool {
        self.0.get().is_some_and(|places| {
            let same = [request.by_clock(clock), request.by_clock(near(clock))];
            let entries = &places[key.spread() % PLACES].0;
            let mut entries = entries.iter().map(Entry::load);
            entries.any(|(fingerprint, until)| same.contains(&fingerprint) && elapsed.0 < until)
        })
    }

    /// Remembers that a request made at `made_at` was denied by this clock, and can succeed after `wait`.
    pub(crate) fn remember(
        &self,
        key: Key,
        request: Fingerprint,
        clock: u64,
        made_at: Nanos,
        wait: Nanos,
    ) {
        let request = request.by_clock(clock);
        let places = self.0.get_or_init(|| {
            let places = std::iter::repeat_with(Place::default);
            places.take(PLACES).collect()
        });
        let until = made_at.saturating_add(wait.min(LONGEST)).0;
        let entries = &places[key.spread() % PLACES].0;
        let same = entries.iter().find(|entry| entry.load().0 == request);
        let first_to_end = || entries.iter().min_by_key(|entry| entry.load().1);
        if let Some(entry) = same.or_else(first_to_end) {
            entry.mixed.store(request.0 ^ until, Ordering::Relaxed);
            entry.until.store(until, Ordering::Relaxed);
        }
    }

    /// Forgets all denials of the key, and of the few that share its place.
    pub(crate) fn end(&self, key: Key) {
        if let Some(places) = self.0.get() {
            for entry in &places[key.spread() % PLACES].0 {
                entry.until.store(0, Ordering::Relaxed);
                entry.mixed.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Returns the bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.0.get().map_or(0, |places| size_of_val(&**places))
    }
}

impl Fingerprint {
    fn by_clock(self, clock: u64) -> Self {
        let part = clock >> CLOCK_BITS;
        // An odd factor: neighbours differ in many bits.
        Self(self.0 ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

/// Returns a clock in the part that is nearest to that of `clock`.
fn near(clock: u64) -> u64 {
    let (part, half) = (1 << CLOCK_BITS, 1 << (CLOCK_BITS - 1));
    if clock & half == 0 {
        clock.wrapping_sub(part)
    } else {
        clock.wrapping_add(part)
    }
}

impl Entry {
    fn load(&self) -> (Fingerprint, u64) {
        let mixed = self.mixed.load(Ordering::Relaxed);
        let until = self.until.load(Ordering::Relaxed);
        (Fingerprint(mixed ^ until), until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rate_limiter_core::Seed;

    /// In the middle of a part.
    const CLOCK: u64 = (7 << CLOCK_BITS) + (1 << (CLOCK_BITS - 1));
    const REQUEST: Fingerprint = Fingerprint(0x1234_5678_9ABC_DEF1);
    const OTHER: Fingerprint = Fingerprint(0x1234_5678_9ABC_DEF2);

    #[test]
    fn a_denial_holds_for_its_own_request_until_it_ends() {
        let (denials, key) = (Denials::default(), Seed::fixed(1).key(b"ann"));
        assert!(!denials.hold(key, REQUEST, CLOCK, Nanos(0)));
        denials.remember(key, REQUEST, CLOCK, Nanos(100), Nanos(50));
        assert!(denials.hold(key, REQUEST, CLOCK, Nanos(149)));
        assert!(!denials.hold(key, REQUEST, CLOCK, Nanos(150)));
        assert!(!denials.hold(key, OTHER, CLOCK, Nanos(149)));
        let bob = Seed::fixed(1).key(b"bob");
        assert!(!denials.hold(bob, REQUEST, CLOCK, Nanos(149)));
    }

    #[test]
    fn a_denial_holds_by_its_own_clock_to_within_some_milliseconds() {
        let (denials, key) = (Denials::default(), Seed::fixed(1).key(b"ann"));
        for clock in [0, 1, CLOCK, CLOCK - 1, u64::MAX] {
            denials.end(key);
            denials.remember(key, REQUEST, clock, Nanos(0), LONGEST);
            for (apart_ms, holds) in [(0, true), (8, true), (26, false), (3_600_000, false)] {
                let apart = apart_ms * 1_000_000_u64;
                for other in [clock.wrapping_add(apart), clock.wrapping_sub(apart)] {
                    assert_eq!(
                        denials.hold(key, REQUEST, other, Nanos(1)),
                        holds,
                        "{clock} {apart_ms}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_denial_of_an_hour_is_remembered_for_a_second() {
        let (denials, key) = (Denials::default(), Seed::fixed(1).key(b"ann"));
        denials.remember(key, REQUEST, CLOCK, Nanos(7), Nanos(3_600_000_000_000));
        assert!(denials.hold(key, REQUEST, CLOCK, Nanos(7 + LONGEST.0 - 1)));
        assert!(!denials.hold(key, REQUEST, CLOCK, Nanos(7 + LONGEST.0)));
    }

    #[test]
    fn a_refund_ends_the_denials_of_its_own_key_only() {
        let seed = Seed::fixed(1);
        let (denials, key) = (Denials::default(), seed.key(b"ann"));
        let other = (0..100_u8)
            .map(|id| seed.key(&[id]))
            .find(|other| other.spread() % PLACES != key.spread() % PLACES)
            .expect("a key in another place");
        denials.remember(key, REQUEST, CLOCK, Nanos(0), LONGEST);
        denials.remember(other, REQUEST, CLOCK, Nanos(0), LONGEST);
        denials.end(key);
        assert!(!denials.hold(key, REQUEST, CLOCK, Nanos(1)));
        assert!(denials.hold(other, REQUEST, CLOCK, Nanos(1)));
    }

    #[test]
    fn many_denials_of_one_key_take_constant_memory_and_the_latest_is_kept() {
        let (denials, key) = (Denials::default(), Seed::fixed(1).key(b"ann"));
        denials.remember(key, REQUEST, CLOCK, Nanos(0), Nanos(10));
        let bytes = denials.bytes();
        for number in 0..100 {
            denials.remember(
                key,
                Fingerprint(number << 8),
                CLOCK,
                Nanos(number),
                Nanos(10),
            );
        }
        assert_eq!(denials.bytes(), bytes);
        assert!(denials.hold(key, Fingerprint(99 << 8), CLOCK, Nanos(100)));
        assert!(!denials.hold(key, REQUEST, CLOCK, Nanos(1)));
    }
}
