//! The sliding log: see `lua/sliding_log.lua`.

use rate_limiter_core::{Nanos, Retry, Scale, Snapshot, Usage};

use super::{micros_ceil, nanos, number, part_of, put, Count, MeterError, Portion, Query};

const MARK: u8 = 5;
const HEAD: usize = 12;
const ENTRY: usize = 11;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlidingLog {
    limit: u64,
    per: u64,
}

/// When, and how much, oldest first: what still counts.
type Uses = Vec<(u64, u64)>;

impl SlidingLog {
    pub(super) fn new(limit: u64, per: Nanos) -> Result<Self, MeterError> {
        let per = part_of(per, 1)?;
        Ok(Self { limit, per })
    }

    pub(super) fn max(&self, scale: Scale) -> u64 {
        scale.of_limit(self.limit)
    }

    pub(super) fn argument(&self, scale: Scale) -> Vec<u8> {
        let mut argument = vec![3];
        put(&mut argument, self.per, 7);
        put(&mut argument, self.max(scale), 7);
        argument
    }

    /// How long until the first `units` have left the window.
    fn freed(&self, uses: &Uses, units: u64, now: u64) -> Nanos {
        let mut left = 0;
        let until = uses.iter().find(|(_, used)| {
            left += used;
            left >= units
        });
        until.map_or(Nanos(0), |&(at, _)| self.expiry(at, now))
    }

    fn expiry(&self, at: u64, now: u64) -> Nanos {
        nanos((at + self.per).saturating_sub(now))
    }
}

impl Count for SlidingLog {
    type State = Uses;

    fn read(&self, value: Option<&[u8]>, now: u64) -> Option<Uses> {
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
            // Sums count on from 0 after the last number of 32 bits.
            let units = sum.wrapping_sub(before) & u64::from(u32::MAX);
            before = sum;
            (number(&entry[..7]), units)
        });
        Some(uses.filter(|(at, _)| at + self.per > now).collect())
    }

    fn usage(&self, uses: &Uses, ask: &Query) -> Usage {
        let (max, cost) = (self.max(ask.scale), ask.cost);
        let counted: u64 = uses.iter().map(|(_, units)| units).sum();
        let fits = cost <= max && counted + cost <= max;
        let retry = if cost == 0 || fits {
            Retry::Now
        } else if cost > max {
            Retry::Never
        } else {
            Retry::After(self.freed(uses, counted + cost - max, ask.now))
        };
        let taken = if fits { cost } else { 0 };
        let last = match uses.last() {
            _ if taken > 0 => Some(ask.now),
            last => last.map(|&(at, _)| at),
        };
        Usage {
            max,
            remaining: max.saturating_sub(counted + taken),
            reset_after: last.map_or(Nanos(0), |at| self.expiry(at, ask.now)),
            retry,
        }
    }

    fn snapshot(&self, uses: &Uses) -> Snapshot {
        let units = |&(at, units): &(u64, u64)| {
            let units = usize::try_from(units).unwrap_or(0);
            std::iter::repeat_n(nanos(at), units)
        };
        Snapshot::Log {
            stamps: uses.iter().flat_map(units).collect(),
        }
    }
}

pub(super) fn portions(stamps: &[Nanos]) -> Vec<Portion> {
    let same = stamps.chunk_by(|one, other| micros_ceil(*one) == micros_ceil(*other));
    same.map(|stamps| (micros_ceil(stamps[0]), stamps.len() as u64))
        .collect()
}
