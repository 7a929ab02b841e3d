//! This node's parts of the limits under which a question is decided: those of the limiter, or of a plan.
//!
//! The tables keep the parts of the limiter's own limits, so those of a plan are made for each question. Usage that is kept
//! beyond a question is in units of the limiter's own limits.

use std::ops::Deref;
use std::sync::Arc;

use rate_limiter_core::{Known, Limit, Made, Tag, Under};

use super::shares::Shares;
use super::Fallback;

pub(super) struct Parts {
    shares: Arc<Shares>,
    plan: Option<OfPlan>,
}

struct OfPlan {
    own: Arc<Shares>,
    counts: Option<Made>,
    reported: Option<Made>,
}

impl Fallback {
    /// Returns the parts of a plan's limits; without any, those of the limiter's.
    pub(super) fn parts(&self, limits: Option<&[(Tag, Limit)]>) -> Parts {
        let own = self.shares.load_full();
        let Some(limits) = limits else {
            return Parts {
                shares: own,
                plan: None,
            };
        };
        let shares = Shares::new(limits, own.share);
        let changes = shares.changes();
        let plan = OfPlan {
            own,
            counts: self.counts.made(&changes),
            reported: self.reported.made(&changes),
        };
        Parts {
            shares: Arc::new(shares),
            plan: Some(plan),
        }
    }
}

impl Parts {
    /// Returns the plan of the table of counts.
    pub(super) fn counts(&self) -> Under<'_> {
        under(self.plan.as_ref().and_then(|plan| plan.counts.as_ref()))
    }

    /// Returns the plan of the table of what was reported.
    pub(super) fn reported(&self) -> Under<'_> {
        under(self.plan.as_ref().and_then(|plan| plan.reported.as_ref()))
    }

    /// Converts usage from units of the limiter's own limits to those of the plan.
    pub(super) fn of_own(&self, known: Known) -> Known {
        match &self.plan {
            Some(plan) => self.shares.converted(&known, &plan.own),
            None => known,
        }
    }

    /// Converts usage from units of the plan to those of the limiter's own limits.
    pub(super) fn to_own(&self, known: Known) -> Known {
        match &self.plan {
            Some(plan) => plan.own.converted(&known, &self.shares),
            None => known,
        }
    }
}

impl Deref for Parts {
    type Target = Shares;

    fn deref(&self) -> &Shares {
        &self.shares
    }
}

fn under(made: Option<&Made>) -> Under<'_> {
    made.map_or(Under::Own, Under::Made)
}
