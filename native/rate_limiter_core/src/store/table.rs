//! All keys of a limiter, in stripes that split one at a time, so that no call pays for a large rehash.
//!
//! Linear hashing (Litwin 1980) with a lock for each stripe (as Ellis 1987): stripes split in turn as they become
//! crowded, and the stripe of a key follows from its hash and the number of stripes alone. A call that reaches a stripe
//! after its split sees so by the level of the stripe, under its lock, and searches again. Between splits the segment
//! of a stripe grows by itself, so memory stays close to what the keys need at every size. Stripes do not move, and are
//! not freed while the table lives, so a call reaches one without a lock.

use std::sync::OnceLock;

use crate::key::Key;
use crate::sync::{AtomicUsize, Ordering};

use super::prefetch::{prefetch_for_write, Hint};
use super::spin::SpinLock;
use super::stripe::Stripe;

/// Chunk `n` doubles the stripes that the chunks before it have, from at least 32: enough for 2^36 stripes.
const CHUNKS: usize = 32;

#[derive(Debug)]
pub(crate) struct Table {
    chunks: [OnceLock<Box<[Padded]>>; CHUNKS],
    /// The binary logarithm of the number of stripes at the start, which is also the least.
    first_level: u32,
    count: AtomicUsize,
}

/// A stripe alone on its cache lines, so that neighbours do not slow each other down.
///
/// What every call touches of a stripe fills the first line. The hint lies on the second, which rarely changes.
#[derive(Debug)]
#[repr(C, align(128))]
struct Padded {
    stripe: SpinLock<Stripe>,
    hint: Hint,
}

#[cfg(not(loom))]
const _: () = assert!(std::mem::offset_of!(Padded, hint) >= 64 && size_of::<Padded>() == 128);

impl Padded {
    fn empty() -> Self {
        Self {
            stripe: SpinLock::new(Stripe::default()),
            hint: Hint::default(),
        }
    }

    /// Runs `visit` on the stripe, alone.
    fn with<R>(&self, visit: impl FnOnce(&mut Stripe) -> R) -> R {
        self.stripe.with(|stripe| {
            let result = visit(stripe);
            self.hint.update(stripe.extent());
            result
        })
    }
}

impl Table {
    /// Returns a table of closed stripes.
    pub(crate) fn new(first: usize) -> Self {
        let first = first.next_power_of_two();
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
            first_level: first.ilog2(),
            count: AtomicUsize::new(first),
        }
    }

    /// Requests what a call for `key` will touch, from memory or another core, while the caller does something else.
    #[inline]
    pub(crate) fn prefetch(&self, key: Key) {
        // Acquire: see `with`. A stale count costs a wrong prefetch.
        let count = self.count.load(Ordering::Acquire);
        let padded = self.stripe(number_of(address(key.high), count));
        prefetch_for_write(std::ptr::from_ref(&padded.stripe).addr());
        padded.hint.prefetch(key);
    }

    /// Runs `visit` on the stripe of `key`, alone. Sets `crowded` if the table should split.
    #[inline]
    pub(crate) fn with<R>(
        &self,
        key: Key,
        crowded: &mut bool,
        visit: impl FnOnce(&mut Stripe) -> R,
    ) -> R {
        let address = address(key.high);
        loop {
            // Acquire pairs with the Release of `split`: a stripe that counts is filled.
            let number = number_of(address, self.count.load(Ordering::Acquire));
            let Padded { stripe, hint } = self.stripe(number);
            let mut entered = stripe.enter();
            if entered.with(|stripe| stripe.owns(address, number)) {
                return entered.with(|stripe| {
                    let before = stripe.states().keys();
                    let result = visit(stripe);
                    *crowded = stripe.has_become_crowded(before);
                    hint.update(stripe.extent());
                    result
                });
            }
        }
    }

    /// Splits the stripe whose turn it is. One caller at a time.
    pub(crate) fn split(&self) {
        let count = self.count.load(Ordering::Relaxed);
        let from = self.stripe(count - power_below(count));
        let new = self.stripe(count);
        from.with(|from| {
            let split = from.split(address);
            new.with(|new| *new = split);
            // Release pairs with the Acquire of `with`, and comes before `from` is released: a call that no longer
            // finds its key in `from` must find the new stripe.
            self.count.store(count + 1, Ordering::Release);
        });
    }

    /// Replaces every stripe: the first ones by `make` of their level, the others by closed ones. One caller at a time.
    pub(crate) fn refill(&self, make: impl Fn(u32) -> Stripe) {
        for number in 0..self.len() {
            let new = if number >> self.first_level == 0 {
                make(self.first_level)
            } else {
                Stripe::default()
            };
            // The old stripe is freed outside of the lock.
            drop(self.nth(number, |stripe| std::mem::replace(stripe, new)));
        }
        // Release: a call with the new count finds the new stripes. With the old count it finds a closed one.
        self.count.store(1 << self.first_level, Ordering::Release);
    }

    /// Visits every stripe, one after the other. No split may run meanwhile.
    pub(crate) fn each(&self, mut visit: impl FnMut(&mut Stripe)) {
        for number in 0..self.len() {
            self.nth(number, &mut visit);
        }
    }

    /// Visits one stripe.
    pub(crate) fn nth<R>(&self, number: usize, visit: impl FnOnce(&mut Stripe) -> R) -> R {
        self.stripe(number).with(visit)
    }

    /// Returns the number of stripes.
    pub(crate) fn len(&self) -> usize {
        // Acquire: see `with`.
        self.count.load(Ordering::Acquire)
    }

    /// Returns the bytes on the heap, without those of the stripes' keys.
    pub(crate) fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().filter_map(OnceLock::get);
        chunks.map(|stripes| size_of_val(&**stripes)).sum()
    }

    #[inline]
    fn stripe(&self, number: usize) -> &Padded {
        // Chunk 0 has the first stripes, chunk n + 1 as many as all chunks before it.
        let doublings = number >> self.first_level;
        let (chunk, before) = match doublings.checked_ilog2() {
            None => (0, 0),
            Some(n) => (n as usize + 1, 1 << (self.first_level + n)),
        };
        let stripes = self.chunks[chunk].get_or_init(|| empty(before.max(1 << self.first_level)));
        &stripes[number - before]
    }
}

#[cold]
fn empty(stripes: usize) -> Box<[Padded]> {
    (0..stripes).map(|_| Padded::empty()).collect()
}

/// Returns the bits of a key that choose its stripe. The lowest bit of `high` is always set.
#[inline]
#[allow(clippy::cast_possible_truncation)] // some of the bits are what is wanted
fn address(high: u64) -> usize {
    (high >> 8) as usize
}

#[inline]
fn number_of(address: usize, count: usize) -> usize {
    let power = power_below(count);
    let wide = address & (2 * power - 1);
    if wide < count {
        wide
    } else {
        address & (power - 1)
    }
}

/// Returns the largest power of two that is at most `count`.
#[inline]
fn power_below(count: usize) -> usize {
    1 << count.ilog2()
}
