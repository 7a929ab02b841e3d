//! The fixed window: see `lua/fixed_window.lua`.

use rate_limiter_core::{LimitError, Nanos, Retry, Scale, Snapshot, Usage};

use super::{nanos, number, part_of, put, Count, MeterError, Query, MAX_COST};

const MARK: u8 = 6;
const SIZE: usize = 22;

/// The largest count: less than the largest cost, which must not fit.
const MAX_LIMIT: u64 = MAX_COST - 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FixedWindow {
    limit: u64,
    per: u64,
    aligned: bool,
}

/// When the window began that is open now, or begins with a use now, and what it counted.
pub(super) struct State {
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

    pub(super) fn max(&self, scale: Scale) -> u64 {
        scale.of_limit(self.limit).min(MAX_LIMIT)
    }

    pub(super) fn argument(&self, scale: Scale) -> Vec<u8> {
        let mut argument = vec![4];
        put(&mut argument, self.per, 7);
        argument.push(self.aligned.into());
        put(&mut argument, self.max(scale), 7);
        argument
    }
}

impl Count for FixedWindow {
    type State = State;

    fn read(&self, value: Option<&[u8]>, now: u64) -> Option<State> {
        let begins = if self.aligned {
            now - now % self.per
        } else {
            now
        };
        let blank = State {
            start: begins,
            used: 0,
        };
        let Some(value) = value else {
            return Some(blank);
        };
        if value.len() != SIZE || value[0] != MARK {
            return None;
        }
        let (start, per) = (number(&value[1..8]), number(&value[8..15]));
        if now >= start + per || per != self.per {
            return Some(blank);
        }
        let used = number(&value[15..]);
        Some(State { start, used })
    }

    fn usage(&self, state: &State, ask: &Query) -> Usage {
        let (max, cost) = (self.max(ask.scale), ask.cost);
        let ends = nanos((state.start + self.per).saturating_sub(ask.now));
        let fits = cost <= max && state.used + cost <= max;
        let retry = if cost == 0 || fits {
            Retry::Now
        } else if cost > max {
            Retry::Never
        } else {
            Retry::After(ends)
        };
        let used = if fits { state.used + cost } else { state.used };
        Usage {
            max,
            remaining: max.saturating_sub(used),
            reset_after: if used == 0 { Nanos(0) } else { ends },
            retry,
        }
    }

    fn snapshot(&self, state: &State) -> Snapshot {
        Snapshot::Fixed {
            start: nanos(state.start),
            per: nanos(self.per),
            used: state.used,
        }
    }
}
