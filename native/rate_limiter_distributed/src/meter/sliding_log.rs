//! The sliding log: the moments of what was used, the oldest first.
//!
//! limit   3, period (7 bytes), largest amount (7)
//! value   5, period (7), sum of the amounts before the first entry (4), then entries: moment (7), sum up to it (4)
//!
//! Sums continue from 0 after 2^32, since only their differences matter.

use rate_limiter_core::{arithmetic, LimitError, Nanos, Scale, Snapshot, Usage};

use super::codec::{
    micros_ceil, nanos, number, part_of, put, Codec, MeterError, Portion, Query, States, MAX_NUMBER,
};

const MARK: u8 = 5;
const HEAD: usize = 12;
const ENTRY: usize = 11;

/// The most units of a log: as many as its largest amount at any scale. So an authority keeps that many of the newest.
pub(super) const MAX_UNITS: u64 = 1 << 16;

/// The largest limit. An authority reads and returns the whole log with each call, 11 bytes a stamp, so a
/// full one of 10,000 stamps would cost it a hundred times as much as any other window.
const MAX_LIMIT: u64 = 1_000;

#[derive(Debug)]
pub(super) struct SlidingLog {
    limit: u64,
    per: u64,
}

impl SlidingLog {
    pub(super) fn new(limit: u64, per: Nanos) -> Result<Self, MeterError> {
        if limit > MAX_LIMIT {
            let max = MAX_LIMIT;
            return Err(LimitError::LimitTooHigh { limit, max }.into());
        }
        let per = part_of(per, 1)?;
        Ok(Self { limit, per })
    }

    fn expiry(&self, at: u64, now: u64) -> Nanos {
        nanos((at + self.per).saturating_sub(now))
    }
}

impl Codec for SlidingLog {
    fn max(&self, scale: Scale) -> u64 {
        scale.of_limit(self.limit).min(MAX_UNITS)
    }

    fn encode(&self, scale: Scale) -> Vec<u8> {
        let mut limit = vec![3];
        put(&mut limit, self.per, 7);
        put(&mut limit, self.max(scale), 7);
        limit
    }

    fn portions(&self, snapshot: &Snapshot) -> Vec<Portion> {
        let Snapshot::Log { uses } = snapshot else {
            return Vec::new();
        };
        let same = uses.chunk_by(|(one, _), (other, _)| micros_ceil(*one) == micros_ceil(*other));
        let units = |uses: &[(Nanos, u64)]| uses.iter().map(|(_, units)| units).sum();
        same.map(|uses| (micros_ceil(uses[0].0), units(uses)))
            .collect()
    }

    fn read(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)> {
        self.answer(value, query)
    }
}

impl States for SlidingLog {
    /// The moments and amounts that still count, the oldest first.
    type State = Vec<Portion>;

    fn decode(&self, value: Option<&[u8]>, now: u64) -> Option<Vec<Portion>> {
        let Some(value) = value else {
            return Some(Vec::new());
        };
        let (head, entries) = value.split_at_checked(HEAD)?;
        let per = number(&head[1..8]);
        let is_log = head[0] == MARK
            && (1..=MAX_NUMBER).contains(&per)
            && !entries.is_empty()
            && entries.len() % ENTRY == 0;
        if !is_log {
            return None;
        }
        let (mut before, mut newest, mut total) = (number(&head[8..]), 0, 0);
        let mut uses = Vec::new();
        for entry in entries.chunks_exact(ENTRY) {
            let (at, sum) = (number(&entry[..7]), number(&entry[7..]));
            let amount = sum.wrapping_sub(before) & u64::from(u32::MAX);
            total += amount;
            if amount == 0 || total > MAX_UNITS || !(newest..=MAX_NUMBER).contains(&at) {
                return None;
            }
            (before, newest) = (sum, at);
            if per == self.per && at + per > now {
                uses.push((at, amount));
            }
        }
        Some(uses)
    }

    fn usage(&self, uses: &Vec<Portion>, query: &Query) -> Usage {
        let Query { now, cost, .. } = *query;
        let total = uses.iter().map(|(_, amount)| amount).sum();
        let wait = |amount| {
            let mut left = 0;
            let last = uses.iter().find(|(_, used)| {
                left += used;
                left >= amount
            });
            last.map_or(Nanos(0), |&(at, _)| self.expiry(at, now))
        };
        let reset_after = |taken| match uses.last() {
            _ if taken => self.expiry(now, now),
            Some(&(at, _)) => self.expiry(at, now),
            None => Nanos(0),
        };
        arithmetic::usage(self.max(query.scale), total, cost, wait, reset_after)
    }

    fn snapshot(&self, uses: &Vec<Portion>) -> Snapshot {
        Snapshot::Log {
            uses: uses.iter().map(|&(at, units)| (nanos(at), units)).collect(),
        }
    }
}
