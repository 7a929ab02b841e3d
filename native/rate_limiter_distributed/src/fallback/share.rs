//! This node's part of each limit, and what a state of the whole is in it.

use rate_limiter_core::{Algorithm, Known, Limit, Snapshot, Tag};

use crate::members::Share;

/// The parts that one node has of a limiter's limits.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    pub(crate) share: Share,
    windows: Vec<Part>,
}

/// One node's part of one limit.
#[derive(Clone, Debug)]
struct Part {
    tag: Tag,
    whole: Amounts,
    here: Amounts,
    /// What stands for the part in a limiter, which has no limit of zero.
    limit: Limit,
    /// Whether nothing can be let through.
    is_zero: bool,
}

/// What is divided.
#[derive(Clone, Copy, Debug)]
struct Amounts {
    limit: u64,
    burst: u64,
}

impl Shares {
    pub(crate) fn new(limits: &[(Tag, Limit)], share: Share) -> Self {
        let part = |(tag, limit): &(Tag, Limit)| Part::new(*tag, limit, share);
        Self {
            share,
            windows: limits.iter().map(part).collect(),
        }
    }

    /// What this node's limiter is made of.
    pub(crate) fn limits(&self) -> Vec<(Tag, Limit)> {
        let limit = |part: &Part| (part.tag, part.limit.clone());
        self.windows.iter().map(limit).collect()
    }

    /// Whether this node has no part at all of the window's limit.
    pub(crate) fn is_zero(&self, tag: Tag) -> bool {
        self.part(tag).is_some_and(|part| part.is_zero)
    }

    /// A state of the whole limits, as this node's part of it.
    pub(crate) fn of_whole(&self, known: &Known) -> Known {
        self.map(known, |part, state| match state {
            // By how much of the bucket is empty: a smaller one of tokens further apart may take as long to fill.
            Snapshot::Bucket { .. } => state
                .part(part.here.burst, part.whole.burst)
                .part(part.whole.limit, part.here.limit),
            _ => state.part(part.here.limit, part.whole.limit),
        })
    }

    /// Uses of the whole limits as what was let through here.
    pub(crate) fn of_used(&self, known: &Known) -> Known {
        self.map(known, |part, state| match state {
            // A token takes as much longer to drain.
            Snapshot::Bucket { .. } => state.part(part.whole.limit, part.here.limit),
            _ => state.clone(),
        })
    }

    /// What was let through here, as uses of the whole limits: as many.
    pub(crate) fn to_whole(&self, known: &Known) -> Known {
        self.map(known, |part, state| match state {
            // A token takes as much less time to drain.
            Snapshot::Bucket { .. } => state.part(part.here.limit, part.whole.limit),
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
        let whole = match limit.algorithm() {
            Algorithm::TokenBucket { burst: Some(burst) } => Amounts {
                limit: limit.limit(),
                burst,
            },
            _ => Amounts {
                limit: limit.limit(),
                burst: limit.limit(),
            },
        };
        let exact = Amounts {
            limit: share.of(whole.limit),
            burst: share.of(whole.burst),
        };
        let is_zero = exact.limit == 0 || exact.burst == 0;
        let stated = |amounts: Amounts| {
            let limit = Limit::new(amounts.limit, limit.per(), limit.algorithm());
            limit.with_burst(amounts.burst)
        };
        // A part that takes longer to fill than can be counted is none, either.
        let least = Amounts { limit: 1, burst: 1 };
        let is_zero = is_zero || stated(exact).validate().is_err();
        let here = if is_zero { least } else { exact };
        Self {
            tag,
            whole,
            here,
            limit: stated(here),
            is_zero,
        }
    }
}
