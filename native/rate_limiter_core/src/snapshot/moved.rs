//! States at another moment, on another clock, under another limit.

use crate::algorithm::converted;
use crate::call::Tag;
use crate::clock::Nanos;
use crate::limit::{Algorithm, Limit};

use super::{Known, Snapshot};

impl Snapshot {
    /// Converts a state of `at` to `now`, without uses in between. Only the debt of a bucket depends on the moment.
    #[must_use]
    pub fn moved(self, at: Nanos, now: Nanos) -> Self {
        match self {
            Self::Bucket { debt } if debt.0 > 0 => Self::Bucket {
                debt: at.saturating_add(debt).saturating_sub(now),
            },
            other => other,
        }
    }

    /// Converts the state to a clock that is `behind` the one by which it was written: everything was used by so much
    /// earlier. A sub-window ends where it ended, or up to its width later.
    #[must_use]
    pub fn earlier(self, behind: Nanos) -> Self {
        match self {
            Self::Bucket { .. } => self,
            Self::Window {
                width,
                newest,
                counts,
            } => Self::Window {
                width,
                newest: newest.saturating_sub(behind.0 / width.0.max(1)),
                counts,
            },
            Self::Log { uses } => Self::Log {
                uses: uses
                    .into_iter()
                    .map(|(at, units)| (at.saturating_sub(behind), units))
                    .collect(),
            },
            Self::Fixed { start, per, used } => Self::Fixed {
                start: start.saturating_sub(behind),
                per,
                used,
            },
        }
    }

    /// Converts a state of the limit `from` to the limit `to`, as a change of the limit does: as many tokens are used. Only
    /// the debt of a bucket depends on the limit.
    #[must_use]
    pub fn under(self, from: &Limit, to: &Limit) -> Self {
        let rate = |limit: &Limit| (limit.limit(), Nanos::from(limit.per()));
        match (self, from.algorithm(), to.algorithm()) {
            (
                Self::Bucket { debt },
                Algorithm::TokenBucket { .. },
                Algorithm::TokenBucket { .. },
            ) if rate(from) != rate(to) => Self::Bucket {
                debt: converted(debt, rate(from), rate(to)),
            },
            (other, ..) => other,
        }
    }
}

impl Known {
    /// Converts the state to `now`, without uses in between.
    #[must_use]
    pub fn moved(self, now: Nanos) -> Self {
        let at = self.at;
        let moved = |(tag, state): (Tag, Snapshot)| (tag, state.moved(at, now));
        Self {
            at: now,
            windows: self.windows.into_iter().map(moved).collect(),
        }
    }

    /// Converts the state to a clock that is `behind` the one by which it was written, see [`Snapshot::earlier`].
    #[must_use]
    pub fn earlier(self, behind: Nanos) -> Self {
        let windows = self.windows.into_iter();
        Self {
            at: self.at.saturating_sub(behind),
            windows: windows
                .map(|(tag, state)| (tag, state.earlier(behind)))
                .collect(),
        }
    }
}
