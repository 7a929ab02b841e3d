//! The sliding log: the moment of each admitted unit. It is exact, and its memory grows with the limit.
//!
//! A state is one word: the number of the key's log in [`Logs`], or 0 before its first use.

mod snapshot;

use std::collections::VecDeque;

use crate::arithmetic;
use crate::clock::Nanos;
use crate::error::LimitError;
use crate::scale::Scale;
use crate::verdict::Usage;

/// Words of state.
pub(crate) const WORDS: usize = 1;

/// Bytes of a log on the heap that count as one key in the budget of a limiter.
const BUDGET_UNIT_BYTES: u64 = 64;

/// The highest limit: a larger one takes too much memory, use a sliding window.
pub(crate) const MAX_LIMIT: u64 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlidingLog {
    limit: u64,
    per: Nanos,
}

/// The uses of one key, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    stamps: VecDeque<Stamp>,
    used: u64,
    /// The period of the last call.
    per: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Stamp {
    at: Nanos,
    units: u64,
}

impl SlidingLog {
    pub(crate) fn new(limit: u64, per: Nanos) -> Result<Self, LimitError> {
        if limit > MAX_LIMIT {
            return Err(LimitError::LimitTooHigh {
                limit,
                max: MAX_LIMIT,
            });
        }
        Ok(Self { limit, per })
    }

    pub(crate) fn decide(&self, log: &Log, now: Nanos, cost: u64, scale: Scale) -> Usage {
        let max = scale.of_limit(self.limit);
        let gone: u64 = log.expired(now, self.per).map(|stamp| stamp.units).sum();
        let used = log.used - gone;
        let wait = |amount| self.freed(log, gone + amount, now);
        let reset_after = |taken| match log.stamps.back() {
            _ if taken => self.expiry(log.next_stamp(now), now),
            Some(stamp) if used > 0 => self.expiry(stamp.at, now),
            _ => Nanos(0),
        };
        arithmetic::usage(max, used, cost, wait, reset_after)
    }

    /// Takes `cost` if it is admitted. In a log that may not grow, the newest stamp moves to now and gets the cost: its
    /// units then count longer than they must, and never too few are counted.
    pub(crate) fn take(
        &self,
        log: &mut Log,
        now: Nanos,
        cost: u64,
        scale: Scale,
        may_grow: bool,
    ) -> Usage {
        self.renew(log, now);
        let usage = self.decide(log, now, cost, scale);
        if usage.allowed() && cost > 0 {
            log.forget(now, self.per);
            log.push(now, cost, may_grow);
        }
        usage
    }

    /// Returns `cost` to the limit, the oldest units first.
    pub(crate) fn refund(&self, log: &mut Log, now: Nanos, mut cost: u64) {
        log.forget(now, self.per);
        while let Some(oldest) = log.stamps.front_mut() {
            let back = oldest.units.min(cost);
            oldest.units -= back;
            log.used -= back;
            cost -= back;
            if oldest.units > 0 {
                break;
            }
            log.stamps.pop_front();
        }
    }

    /// Converts the log after a change of the period. A unit that had left the old window does not return in a longer
    /// one, as if the key had been idle and was forgotten.
    pub(crate) fn renew(&self, log: &mut Log, now: Nanos) {
        if !self.wrote(log) {
            log.forget(now, log.per);
            log.per = self.per;
        }
    }

    /// Returns whether the log is one of this period.
    pub(crate) fn wrote(&self, log: &Log) -> bool {
        log.per == self.per
    }

    pub(crate) fn is_idle(log: &Log, now: Nanos) -> bool {
        log.stamps
            .back()
            .is_none_or(|newest| newest.at.saturating_add(log.per) <= now)
    }

    /// Returns how long it takes until the oldest `units` of the log have left the window.
    fn freed(&self, log: &Log, units: u64, now: Nanos) -> Nanos {
        let mut left = 0;
        let until = log.stamps.iter().find(|stamp| {
            left += stamp.units;
            left >= units
        });
        until.map_or(Nanos(0), |stamp| self.expiry(stamp.at, now))
    }

    fn expiry(&self, at: Nanos, now: Nanos) -> Nanos {
        at.saturating_add(self.per).saturating_sub(now)
    }
}

impl Log {
    fn expired(&self, now: Nanos, per: Nanos) -> impl Iterator<Item = &Stamp> {
        self.stamps
            .iter()
            .take_while(move |stamp| stamp.at.saturating_add(per) <= now)
    }

    fn forget(&mut self, now: Nanos, per: Nanos) {
        let gone = self.expired(now, per).count();
        for stamp in self.stamps.drain(..gone) {
            self.used -= stamp.units;
        }
    }

    /// Returns the moment that a use at `now` gets: never before an earlier one, even if the clock was set back.
    fn next_stamp(&self, now: Nanos) -> Nanos {
        self.stamps.back().map_or(now, |newest| newest.at.max(now))
    }

    /// Returns `cost` of a call that was charged at `at`.
    pub(crate) fn give_back(&mut self, at: Nanos, cost: u64) {
        if let Ok(place) = self.stamps.binary_search_by_key(&at, |stamp| stamp.at) {
            let back = self.stamps[place].units.min(cost);
            self.stamps[place].units -= back;
            self.used -= back;
            if self.stamps[place].units == 0 {
                self.stamps.remove(place);
            }
        }
    }

    fn push(&mut self, now: Nanos, units: u64, may_grow: bool) {
        let at = self.next_stamp(now);
        self.used += units;
        match self.stamps.back_mut() {
            Some(newest) if newest.at == at || !may_grow => {
                newest.at = at;
                newest.units += units;
            }
            _ => self.stamps.push_back(Stamp { at, units }),
        }
    }

    /// Returns the bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.stamps.capacity() * size_of::<Stamp>()
    }

    /// Returns these bytes in units of a budget.
    fn units(&self) -> u64 {
        (self.bytes() as u64).div_ceil(BUDGET_UNIT_BYTES)
    }
}

/// The logs of the keys of a stripe, to which slots refer by number. Allocates nothing before the first log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(Option<Box<Rack>>);

#[derive(Clone, Debug, Default)]
struct Rack {
    entries: Vec<Log>,
    free: Vec<u32>,
    stamp_bytes: usize,
    /// Their sum in a budget, each log rounded up: so the sum does not depend on how stripes were split.
    units: u64,
}

impl Logs {
    /// Returns the log of `state`, or an empty one.
    pub(crate) fn get(&self, state: &[u64]) -> &Log {
        static EMPTY: Log = Log {
            stamps: VecDeque::new(),
            used: 0,
            per: Nanos(0),
        };
        match (&self.0, index(state)) {
            (Some(rack), Some(at)) => &rack.entries[at],
            _ => &EMPTY,
        }
    }

    /// Runs `change` on the log of `state`, if it has one.
    pub(crate) fn change(&mut self, state: &[u64], change: impl FnOnce(&mut Log)) {
        if let (Some(rack), Some(at)) = (&mut self.0, index(state)) {
            change(&mut rack.entries[at]);
        }
    }

    /// Runs `change` on the log of `state`, which is created if missing.
    pub(crate) fn update<R>(&mut self, state: &mut [u64], change: impl FnOnce(&mut Log) -> R) -> R {
        let rack = self.0.get_or_insert_default();
        let at = match index(state) {
            Some(at) => at,
            None => rack.insert(state, Log::default()),
        };
        let log = &mut rack.entries[at];
        let (bytes, units) = (log.bytes(), log.units());
        let result = change(log);
        rack.stamp_bytes = rack.stamp_bytes + log.bytes() - bytes;
        rack.units = rack.units + log.units() - units;
        result
    }

    /// Copies the log of `state`, and makes `state` refer to the copy.
    pub(crate) fn detach(&mut self, state: &mut [u64]) {
        if let (Some(rack), Some(at)) = (&mut self.0, index(state)) {
            let copy = rack.entries[at].clone();
            rack.insert(state, copy);
        }
    }

    /// Frees the log of `state`, if it has one.
    pub(crate) fn remove(&mut self, state: &mut [u64]) {
        if let (Some(rack), Some(at)) = (&mut self.0, index(state)) {
            rack.remove(at);
            state[0] = 0;
            if rack.free.len() == rack.entries.len() {
                // It was the last one: free also the room that a flood of keys has left.
                self.0 = None;
            }
        }
    }

    /// Moves the log of `state` to another stripe's logs.
    pub(crate) fn hand_over(&mut self, state: &mut [u64], to: &mut Self) {
        if let (Some(rack), Some(at)) = (&mut self.0, index(state)) {
            let log = rack.remove(at);
            to.0.get_or_insert_default().insert(state, log);
        }
    }

    /// Copies the log of `state` to another stripe's logs, and makes `state` refer to the copy.
    pub(crate) fn copy_over(&self, state: &mut [u64], to: &mut Self) {
        if let (Some(rack), Some(at)) = (&self.0, index(state)) {
            let copy = rack.entries[at].clone();
            to.0.get_or_insert_default().insert(state, copy);
        }
    }

    /// Returns the units of a budget that the stamps use.
    pub(crate) fn units(&self) -> u64 {
        self.0.as_ref().map_or(0, |rack| rack.units)
    }

    /// Returns the bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |rack| {
            let entries = rack.entries.capacity() * size_of::<Log>();
            let free = rack.free.capacity() * size_of::<u32>();
            size_of::<Rack>() + rack.stamp_bytes + entries + free
        })
    }
}

impl Rack {
    fn insert(&mut self, state: &mut [u64], log: Log) -> usize {
        self.stamp_bytes += log.bytes();
        self.units += log.units();
        let at = if let Some(free) = self.free.pop() {
            let at = free as usize;
            self.entries[at] = log;
            at
        } else {
            self.entries.push(log);
            self.entries.len() - 1
        };
        state[0] = at as u64 + 1;
        at
    }

    fn remove(&mut self, at: usize) -> Log {
        let log = std::mem::take(&mut self.entries[at]);
        self.stamp_bytes -= log.bytes();
        self.units -= log.units();
        // A stripe has far fewer logs than a u32 can count.
        self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
        log
    }
}

fn index(state: &[u64]) -> Option<usize> {
    usize::try_from(state[0]).ok()?.checked_sub(1)
}
