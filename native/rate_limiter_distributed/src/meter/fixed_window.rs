//! The fixed window: when it began, and the amount that it counted.
//!
//! limit   4, period (7 bytes), 1 if windows begin at multiples of it since 1970 (1), largest amount (7)
//! value   6, or 7 if windows begin with their first use; start (7), period (7), amount (7)

use rate_limiter_core::{arithmetic, LimitError, Nanos, Scale, Snapshot, Usage};

use super::codec::{
    micros_ceil, nanos, number, part_of, put, Codec, MeterError, Portion, Query, States, MAX_COST,
    MAX_NUMBER,
};

const ALIGNED: u8 = 6;
const FROM_FIRST_USE: u8 = 7;
const SIZE: usize = 22;

/// The largest count: less than the largest cost, which must not fit.
const MAX_LIMIT: u64 = MAX_COST - 1;

#[derive(Debug)]
pub(super) struct FixedWindow {
    limit: u64,
    per: u64,
    aligned: bool,
}

/// The window that is open now, or would begin with a call now.
pub(super) struct Open {
    start: u64,
    used: u64,
}

impl FixedWindow {
    pub(super) fn new(limit: u64, per: Nanos, aligned: bool) -> Result<Self, MeterError> {
        if limit > MAX_LIMIT {
            let max = MAX_LIMIT;
            return Err(LimitError::LimitTooHigh { limit, max }.into());
        }
        let per = part_of(per, 1)?;
        Ok(Self {
            limit,
            per,
            aligned,
        })
    }
}

impl Codec for FixedWindow {
    fn max(&self, scale: Scale) -> u64 {
        scale.of_limit(self.limit).min(MAX_LIMIT)
    }

    fn encode(&self, scale: Scale) -> Vec<u8> {
        let mut limit = vec![4];
        put(&mut limit, self.per, 7);
        limit.push(self.aligned.into());
        put(&mut limit, self.max(scale), 7);
        limit
    }

    fn portions(&self, snapshot: &Snapshot) -> Vec<Portion> {
        match snapshot {
            Snapshot::Fixed { start, used, .. } => {
                vec![(micros_ceil(*start), (*used).min(MAX_COST))]
            }
            _ => Vec::new(),
        }
    }

    fn read(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)> {
        self.answer(value, query)
    }
}

impl States for FixedWindow {
    type State = Open;

    fn decode(&self, value: Option<&[u8]>, now: u64) -> Option<Open> {
        let phase = if self.aligned { now % self.per } else { 0 };
        let start = now - phase;
        let unused = Open { start, used: 0 };
        let Some(value) = value else {
            return Some(unused);
        };
        let mark = if self.aligned {
            ALIGNED
        } else {
            FROM_FIRST_USE
        };
        if value.len() != SIZE || value[0] != mark {
            return None;
        }
        let (start, per) = (number(&value[1..8]), number(&value[8..15]));
        let used = number(&value[15..]);
        let is_bounded = start <= MAX_NUMBER
            && (1..=MAX_NUMBER).contains(&per)
            && (1..=MAX_COST).contains(&used);
        if !is_bounded {
            return None;
        }
        if now >= start + per || per != self.per {
            return Some(unused);
        }
        Some(Open { start, used })
    }

    fn usage(&self, open: &Open, query: &Query) -> Usage {
        let end = nanos((open.start + self.per).saturating_sub(query.now));
        let is_used = |taken| taken || open.used > 0;
        let reset_after = |taken| if is_used(taken) { end } else { Nanos(0) };
        let max = self.max(query.scale);
        arithmetic::usage(max, open.used, query.cost, |_| end, reset_after)
    }

    fn snapshot(&self, open: &Open) -> Snapshot {
        Snapshot::Fixed {
            start: nanos(open.start),
            per: nanos(self.per),
            used: open.used,
        }
    }
}
