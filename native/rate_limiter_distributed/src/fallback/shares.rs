//! This node's part of each limit, and the conversion of states between the whole limits and the parts.

use rate_limiter_core::{Change, Known, Limit, Nanos, Snapshot, Tag};

use crate::members::Share;

/// One node's parts of a limiter's limits.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    pub(super) share: Share,
    windows: Vec<Part>,
}

/// One node's part of one limit.
#[derive(Clone, Debug)]
struct Part {
    tag: Tag,
    whole: Limit,
    /// At least 1, also if the part is zero.
    here: Limit,
    /// Whether nothing can be admitted.
    is_zero: bool,
}

impl Shares {
    pub(super) fn new(limits: &[(Tag, Limit)], share: Share) -> Self {
        let part = |(tag, limit): &(Tag, Limit)| Part::new(*tag, limit, share);
        Self {
            share,
            windows: limits.iter().map(part).collect(),
        }
    }

    /// Returns the limits of this node's own tables.
    pub(super) fn limits(&self) -> Vec<(Tag, Limit)> {
        let limit = |part: &Part| (part.tag, part.here.clone());
        self.windows.iter().map(limit).collect()
    }

    /// Returns these limits as a plan.
    pub(super) fn changes(&self) -> Vec<Change> {
        let change = |part: &Part| Change::to(part.tag, &part.here);
        self.windows.iter().map(change).collect()
    }

    /// Returns whether this node has no part of the window's limit.
    pub(super) fn is_zero(&self, tag: Tag) -> bool {
        self.part(tag).is_some_and(|part| part.is_zero)
    }

    /// Returns this node's part of a state of the whole limits.
    pub(super) fn of_whole(&self, known: &Known) -> Known {
        self.map(known, |part, state| match state {
            // The part of the bucket that is in use, and then its time, since a token takes longer to drain here.
            Snapshot::Bucket { .. } => state
                .part(part.here.capacity(), part.whole.capacity())
                .part(part.whole.limit(), part.here.limit()),
            _ => state.part(part.here.limit(), part.whole.limit()),
        })
    }

    /// Converts usage from units of the whole limits to those of the parts. Amounts stay; a token's time does not.
    pub(super) fn of_used(&self, known: &Known) -> Known {
        self.map(known, |part, state| match state {
            // A token takes longer to drain.
            Snapshot::Bucket { .. } => state.part(part.whole.limit(), part.here.limit()),
            _ => state.clone(),
        })
    }

    /// Converts usage from units of the parts to those of the whole limits. Amounts stay; a token's time does not.
    pub(super) fn to_whole(&self, known: &Known) -> Known {
        self.map(known, |part, state| match state {
            // A token takes less time to drain.
            Snapshot::Bucket { .. } => state.part(part.here.limit(), part.whole.limit()),
            _ => state.clone(),
        })
    }

    /// Converts usage of the whole limits from units of `other` ones. Amounts stay; a token's time does not.
    pub(super) fn converted(&self, known: &Known, other: &Self) -> Known {
        self.map(known, |part, state| match (state, other.part(part.tag)) {
            (Snapshot::Bucket { .. }, Some(from)) => {
                state.part(from.whole.limit(), part.whole.limit()).part(
                    Nanos::from(part.whole.per()).0,
                    Nanos::from(from.whole.per()).0,
                )
            }
            _ => state.clone(),
        })
    }

    fn map(&self, known: &Known, map: impl Fn(&Part, &Snapshot) -> Snapshot) -> Known {
        let windows = known.windows.iter().filter_map(|(tag, state)| {
            let part = self.part(*tag)?;
            Some((*tag, map(part, state)))
        });
        Known {
            at: known.at,
            windows: windows.collect(),
        }
    }

    fn part(&self, tag: Tag) -> Option<&Part> {
        self.windows.iter().find(|part| part.tag == tag)
    }
}

impl Part {
    fn new(tag: Tag, limit: &Limit, share: Share) -> Self {
        let of = |amount, burst| {
            let part = Limit::new(amount, limit.per(), limit.algorithm());
            part.with_burst(burst).enforced(limit.is_enforced())
        };
        let exact = of(share.of(limit.limit()), share.of(limit.capacity()));
        // Also a part that takes longer to drain than can be counted is zero.
        let is_zero = exact.validate().is_err();
        Self {
            tag,
            whole: limit.clone(),
            here: if is_zero { of(1, 1) } else { exact },
            // A window in shadow mode denies nothing.
            is_zero: is_zero && limit.is_enforced(),
        }
    }
}
