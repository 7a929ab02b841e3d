//! The sliding log: the moments of what was used, the oldest first.
//!
//! limit   3, period (7 bytes), largest amount (7)
//! value   5, period (7), sum of the amounts before the first entry (4), then entries: moment (7), sum up to it (4)
//!
//! Sums continue from 0 after 2^32, since only their differences matter.

use rate_limiter_core::{arithmetic, Nanos, Scale, Snapshot, Usage};

use super::codec::{
    micros_ceil, nanos, number, part_of, put, Codec, MeterError, Portion, Query, States,
};

const MARK: u8 = 5;
const HEAD: usize = 12;
const ENTRY: usize = 11;

#[derive(Debug)]
pub(super) struct SlidingLog {
    limit: u64,
    per: u64,
}

impl SlidingLog {
    pub(super) fn new(limit: u64, per: Nanos) -> Result<Self, MeterError> {
        let per = part_of(per, 1)?;
        Ok(Self { limit, per })
    }

    fn expiry(&self, at: u64, now: u64) -> Nanos {
        nanos((at + self.per).saturating_sub(now))
    }
}

impl Codec for SlidingLog {
    fn max(&self, scale: Scale) -> u64 {
        scale.of_limit(self.limit)
    }

    fn encode(&self, scale: Scale) -> Vec<u8> {
        let mut limit = vec![3];
        put(&mut limit, self.per, 7);
        put(&mut limit, self.max(scale), 7);
        limit
    }

    fn portions(&self, snapshot: &Snapshot) -> Vec<Portion> {
        let Snapshot::Log { stamps } = snapshot else {
            return Vec::new();
        };
        let same = stamps.chunk_by(|one, other| micros_ceil(*one) == micros_ceil(*other));
        same.map(|stamps| (micros_ceil(stamps[0]), stamps.len() as u64))
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
        if head[0] != MARK {
            return None;
        }
        if number(&head[1..8]) != self.per {
            return Some(Vec::new());
        }
        let mut before = number(&head[8..]);
        let uses = entries.chunks_exact(ENTRY).map(|entry| {
            let sum = number(&entry[7..]);
            let amount = sum.wrapping_sub(before) & u64::from(u32::MAX);
            before = sum;
            (number(&entry[..7]), amount)
        });
        Some(uses.filter(|(at, _)| at + self.per > now).collect())
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
        let units = |&(at, amount): &Portion| {
            let amount = usize::try_from(amount).unwrap_or(0);
            std::iter::repeat_n(nanos(at), amount)
        };
        Snapshot::Log {
            stamps: uses.iter().flat_map(units).collect(),
        }
    }
}
