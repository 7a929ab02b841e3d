//! The state of each key as the authority reported it last: to continue from during an outage, and to restore what the
//! authority has lost.
//!
//! A bounded table of absolute states. Those of each epoch are kept apart, since an authority in a new epoch may have
//! lost what it reported in an earlier one: until it reports a key again, the key's state from before is the least that
//! it must have.

use std::sync::atomic::{AtomicU64, Ordering};

use rate_limiter_core::{
    Answer, Change, Import, Join, Key, Known, Limit, LimitError, Made, Nanos, Preview, Scale,
    Select, Stats, Tag, Under, UpdateError, Usage,
};

use crate::authority_clock::AuthorityClock;
use crate::table::{Table, PEEK};

/// The number of earlier epochs whose states are still used.
const DEPTH: usize = 16;

#[derive(Debug)]
pub(crate) struct LastKnown {
    states: Table,
    /// The latest epoch, and when it was first observed.
    latest: AtomicU64,
    since: AtomicU64,
    /// The number of epochs up to the latest in which a state was reported, and when that was first, for each of those
    /// still used.
    reported_epochs: AtomicU64,
    firsts: [AtomicU64; DEPTH + 1],
    /// The longest time for which usage counts in any window.
    longest: AtomicU64,
}

impl LastKnown {
    /// Remembers at most `max_keys`, under the limits as configured.
    pub(crate) fn new(
        limits: &[(Tag, Limit)],
        clock: &AuthorityClock,
        max_keys: u64,
    ) -> Result<Self, LimitError> {
        let longest = limits.iter().map(|(_, limit)| longest_debt(limit)).max();
        Ok(Self {
            states: Table::new(limits, clock, max_keys)?,
            latest: AtomicU64::new(0),
            since: AtomicU64::new(0),
            reported_epochs: AtomicU64::new(0),
            firsts: Default::default(),
            longest: AtomicU64::new(longest.map_or(0, |longest| longest.0)),
        })
    }

    /// Records that `epoch` is the present one.
    pub(crate) fn observe(&self, epoch: u64, elapsed: Nanos) {
        if self.latest.load(Ordering::Relaxed) < epoch {
            // Release, and in this order: a thread that reads the new epoch with the old time would look at earlier
            // epochs no more, although their states still count. The other way round it only looks in vain.
            self.since.store(elapsed.0, Ordering::Relaxed);
            self.latest.store(epoch, Ordering::Release);
        }
    }

    /// Adopts a state that was reported in `epoch`, which is still the present one.
    pub(crate) fn adopt(&self, under: Under, epoch: u64, key: Key, known: &Known, elapsed: Nanos) {
        self.note_first(epoch, known.at);
        self.states
            .write(under, key.nth(epoch), known, Import::Replace);
        let tags: Vec<Tag> = known.windows.iter().map(|(tag, _)| *tag).collect();
        for earlier in self.earlier(epoch, elapsed) {
            self.states.clear(key.nth(earlier), Select::Tags(&tags));
        }
    }

    /// Adopts a state that was reported in `epoch`, which has ended meanwhile: the authority may have lost it again.
    pub(crate) fn adopt_late(&self, under: Under, epoch: u64, key: Key, known: &Known) {
        self.note_first(epoch, known.at);
        self.states
            .write(under, key.nth(epoch), known, Import::AtLeast);
    }

    /// Returns the least that the authority must have of these windows, for those that it has not reported since
    /// `epoch` began; and the time on its clock from which on it has reported that.
    pub(crate) fn before_epoch(
        &self,
        under: Under,
        epoch: u64,
        key: Key,
        tags: &[Tag],
        elapsed: Nanos,
    ) -> Option<(Known, Nanos)> {
        let select = Select::Tags(tags);
        let mut earlier = self.earlier(epoch, elapsed).peekable();
        earlier.peek()?;
        let reported = self.states.read(under, key.nth(epoch), select);
        let lost = earlier.filter_map(|earlier| {
            let known = self.states.read(under, key.nth(earlier), select)?;
            Some((known, self.reported_since(earlier)))
        });
        let (mut lost, since) = lost.reduce(|(newer, _), (older, since)| {
            let both = newer.with(Some(&older), Join::Most);
            (both, since)
        })?;
        if let Some(reported) = reported {
            let is_missing = |(tag, _): &(Tag, _)| reported.window(*tag).is_none();
            lost.windows.retain(is_missing);
        }
        (!lost.is_blank()).then_some((lost, since))
    }

    /// Returns the state of these windows that the authority has reported in `epoch`, as of now.
    pub(crate) fn reported(&self, epoch: u64, key: Key, tags: &[Tag]) -> Option<Known> {
        let select = Select::Tags(tags);
        self.states.read(Under::Own, key.nth(epoch), select)
    }

    /// Returns the last reported state of each window, from any epoch.
    pub(crate) fn last(&self, under: Under, epoch: u64, key: Key, elapsed: Nanos) -> Option<Known> {
        let mut last = self.states.read(under, key.nth(epoch), Select::All);
        for earlier in self.earlier(epoch, elapsed) {
            let Some(older) = self.states.read(under, key.nth(earlier), Select::All) else {
                continue;
            };
            last = Some(match last {
                None => older,
                Some(mut newer) => {
                    let missing = |(tag, _): &(Tag, _)| newer.window(*tag).is_none();
                    let older = older.moved(newer.at).windows;
                    let older: Vec<_> = older.into_iter().filter(missing).collect();
                    newer.windows.extend(older);
                    newer
                }
            });
        }
        last
    }

    /// Returns what the authority would answer now if no other node had used the key since.
    pub(crate) fn peek(
        &self,
        under: Under,
        epoch: u64,
        key: Key,
        select: Select,
        cost: u64,
    ) -> Answer {
        self.states
            .decide(under, key.nth(epoch), select, cost, PEEK)
    }

    /// Returns whether the key passes `share` of a window with this answer, for the first time within its period.
    pub(crate) fn passes(
        &self,
        under: Under,
        key: Key,
        answer: (Tag, &Usage),
        cost: u64,
        share: Scale,
    ) -> bool {
        self.states.passes(under, key, answer, cost, share)
    }

    /// Returns a plan of these states; `None` if its limits cannot be kept.
    pub(crate) fn made(&self, changes: &[Change]) -> Option<Made> {
        self.states.made(changes)
    }

    /// Adds plans under which states are reported.
    pub(crate) fn put_plans(&self, plans: &[(Key, Vec<Change>)]) -> Result<(), UpdateError> {
        self.states.put_plans(plans)
    }

    pub(crate) fn remove_plan(&self, name: Key) {
        self.states.remove_plan(name);
    }

    /// Takes account of limits whose usage may count longer.
    pub(crate) fn lengthen(&self, limits: &[(Tag, Limit)]) {
        if let Some(longest) = limits.iter().map(|(_, limit)| longest_debt(limit)).max() {
            self.longest.fetch_max(longest.0, Ordering::Relaxed);
        }
    }

    /// Changes some limits, all or none. Usage stays.
    pub(crate) fn update_limits(&self, limits: &[(Tag, Limit)]) -> Result<(), UpdateError> {
        self.states.update_limits(limits)?;
        let longest = limits.iter().map(|(_, limit)| longest_debt(limit)).max();
        self.longest
            .fetch_max(longest.unwrap_or_default().0, Ordering::Relaxed);
        Ok(())
    }

    /// Returns what other limits would do to the keys.
    pub(crate) fn preview(&self, limits: &[(Tag, Limit)]) -> Result<Preview, UpdateError> {
        self.states.preview(limits)
    }

    /// Returns each window's tag, its limit, and the largest amount that can be taken at once at the present scale.
    pub(crate) fn limits(&self) -> Vec<(Tag, Limit, u64)> {
        self.states.limits()
    }

    pub(crate) fn set_scale(&self, scale: Scale) {
        self.states.set_scale(scale);
    }

    pub(crate) fn sweep(&self, max_slots: usize) -> usize {
        self.states.sweep(max_slots)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.states.stats()
    }

    /// Records when the first state was reported in an epoch. If several threads do at once, one of them is as good as
    /// the other.
    fn note_first(&self, epoch: u64, at: Nanos) {
        if self.reported_epochs.load(Ordering::Relaxed) <= epoch {
            self.firsts[place(epoch)].store(at.0, Ordering::Relaxed);
            self.reported_epochs.store(epoch + 1, Ordering::Relaxed);
        }
    }

    /// Returns the time on the authority's clock of the first report in an epoch.
    pub(crate) fn reported_since(&self, epoch: u64) -> Nanos {
        Nanos(self.firsts[place(epoch)].load(Ordering::Relaxed))
    }

    /// Returns the epochs before this one whose states can still count, the latest first.
    fn earlier(&self, epoch: u64, elapsed: Nanos) -> impl Iterator<Item = u64> {
        // Acquire: see `observe`.
        let latest = self.latest.load(Ordering::Acquire);
        let since = Nanos(self.since.load(Ordering::Relaxed));
        let longest = Nanos(self.longest.load(Ordering::Relaxed));
        let is_over = epoch == latest && elapsed.saturating_sub(since) > longest;
        let first = if is_over {
            epoch
        } else {
            epoch.saturating_sub(DEPTH as u64)
        };
        (first..epoch).rev()
    }
}

/// Returns the place of an epoch among those still used.
fn place(epoch: u64) -> usize {
    // Less than the length, so it fits.
    usize::try_from(epoch % (DEPTH as u64 + 1)).unwrap_or(0)
}

/// Returns the longest time for which usage of a limit can count.
fn longest_debt(limit: &Limit) -> Nanos {
    let per = limit.per().as_nanos();
    let drain = per.saturating_mul(limit.capacity().into()) / u128::from(limit.limit().max(1));
    let longest = per.max(drain);
    // Twice: for one sub-window more, or for what one call took at a small scale.
    Nanos(u64::try_from(longest.saturating_mul(2)).unwrap_or(u64::MAX))
}
