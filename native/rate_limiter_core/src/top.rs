//! The keys with the most calls and the most denials in the last one to two minutes.

mod part;
mod summary;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;

use crate::call::{Epoch, Tag};
use crate::clock::{monotonic, Clock, Nanos};
use crate::key::Key;
use crate::store::SpinLock;

use part::Part;

/// How long calls count: those of the present pane and of the one before.
const PANE: Nanos = Nanos(60_000_000_000);

/// The keys of a limiter with the most calls and denials lately, in bounded memory.
///
/// Each core writes a part of its own, so threads do not wait for each other; the parts are added when they are read
/// (Agarwal and others: Mergeable Summaries, PODS 2012). With `n` calls counted and a capacity of `m`:
///
/// - a count is never above the truth, and below it by at most `n / m`;
/// - a key with more than `n / m` calls is among those that are counted.
///
/// Like a limiter, it can be closed and opened again, and so can live in a static table.
///
/// ```
/// use rate_limiter_core::{Clock, Epoch, Most, Seed, Top};
///
/// const BURST: u64 = 1;
/// let (top, epoch, seed) = (Top::default(), Epoch::from_number(1), Seed::random());
/// top.open(epoch, &Clock::default(), &[BURST], 100);
/// for (id, denied) in [("ann", false), ("bob", false), ("ann", true)] {
///     top.record(epoch, seed.key(id.as_bytes()), BURST, denied, || None);
/// }
/// let most = top.most(epoch, BURST, Most::Calls, 1);
/// assert_eq!((most[0].key, most[0].calls, most[0].denied), (seed.key(b"ann"), 2, 1));
/// ```
#[derive(Debug, Default)]
pub struct Top(OnceLock<Box<[Aligned<SpinLock<Part>>]>>);

/// By what keys are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Most {
    /// By their calls.
    Calls,
    /// By their denied calls.
    Denied,
}

/// A key with its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The key.
    pub key: Key,
    /// What the first call that was counted gave as its label.
    pub label: Option<Box<[u8]>>,
    /// At least so many calls.
    pub calls: u64,
    /// At least so many calls that were denied.
    pub denied: u64,
}

/// On cache lines of its own, of which processors fetch two at once.
#[derive(Debug)]
#[repr(align(128))]
struct Aligned<T>(T);

impl Top {
    /// Begins to count the calls of these windows, each with the given number of keys. Forgets all that was counted.
    pub fn open(&self, epoch: Epoch, clock: &Clock, tags: &[Tag], capacity: usize) {
        let parts = self.0.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let part = || Aligned(SpinLock::new(Part::default()));
            (0..cores).map(|_| part()).collect()
        });
        for Aligned(part) in parts {
            // Made before, since the lock is for moments, and what it replaces is dropped after.
            let mut open = Part::open(epoch.number(), clock, tags, capacity);
            part.with(|part| std::mem::swap(part, &mut open));
        }
    }

    /// Forgets all, and counts no more.
    pub fn close(&self) {
        for Aligned(part) in self.0.get().into_iter().flatten() {
            drop(part.with(std::mem::take));
        }
    }

    /// Counts a call. `label` is called only if the key was not counted yet. Does nothing if `epoch` has ended.
    #[inline]
    pub fn record(
        &self,
        epoch: Epoch,
        key: Key,
        tag: Tag,
        denied: bool,
        label: impl Fn() -> Option<Box<[u8]>>,
    ) {
        let Some(parts) = self.0.get() else { return };
        let now = monotonic();
        let Aligned(part) = &parts[thread_number() % parts.len()];
        part.with(|part| {
            if let Some((present, _)) = part.panes(epoch.number(), tag, now) {
                present.add(key, denied, label);
            }
        });
    }

    /// Returns the `count` keys with the most calls or denials of a window, the most first. Empty if `epoch` has ended.
    #[must_use]
    pub fn most(&self, epoch: Epoch, tag: Tag, by: Most, count: usize) -> Vec<Ranked> {
        let mut found = HashMap::new();
        for Aligned(part) in self.0.get().into_iter().flatten() {
            let now = monotonic();
            let rows = part.with(|part| {
                let panes = part.panes(epoch.number(), tag, now);
                panes.map(|(present, before)| [present, before].map(|pane| pane.rows()))
            });
            for (calls, denials) in rows.into_iter().flatten() {
                for row in calls {
                    let calls = row.count - row.error;
                    ranked(&mut found, row.key, row.label).calls += calls;
                }
                for row in denials {
                    let denied = row.count - row.error;
                    ranked(&mut found, row.key, row.label).denied += denied;
                }
            }
        }
        let mut ranked: Vec<_> = found.into_values().collect();
        for row in &mut ranked {
            // A denied call is a call.
            row.calls = row.calls.max(row.denied);
        }
        ranked.sort_unstable_by_key(|row| {
            let counts = match by {
                Most::Calls => (row.calls, row.denied),
                Most::Denied => (row.denied, row.calls),
            };
            // The same order each time, also of equal counts.
            (Reverse(counts), row.key.low)
        });
        ranked.truncate(count);
        ranked
    }
}

fn ranked(found: &mut HashMap<Key, Ranked>, key: Key, label: Option<Box<[u8]>>) -> &mut Ranked {
    found.entry(key).or_insert(Ranked {
        key,
        label,
        calls: 0,
        denied: 0,
    })
}

/// Returns a small number that this thread has for itself.
#[inline]
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const NONE: usize = usize::MAX;
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(NONE) });
    NUMBER.with(|number| {
        if number.get() == NONE {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}
