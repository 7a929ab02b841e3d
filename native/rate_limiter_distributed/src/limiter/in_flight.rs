//! A request on its way to the authority.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use rate_limiter_core::{CallError, Key, Known, Limit, Made, Nanos, Once, Scale, Tag, Under};

use crate::call::{Call, Op, Receipt, RequestId};
use crate::denials::Fingerprint;
use crate::fallback::{Question, Report};
use crate::request::{Limits, Request};

use super::inner::Inner;
use super::plan::Plan;

/// A bit of the numbers in receipts. Those of local limiters are smaller.
const SHARED: u64 = 1 << MARK_BITS;

/// The bits of a number that tell limits apart, and those that count. All are 58, so a number is small in Erlang, too.
pub(super) const MARK_BITS: u32 = 20;
const COUNT_BITS: u32 = 37;

/// Returns the number of a call in its receipt: never that of a local limiter's, and under other limits another.
pub(super) fn serial(mark: u64, count: u64) -> u64 {
    (SHARED | mark) << COUNT_BITS | count & ((1 << COUNT_BITS) - 1)
}

/// Returns whether the number of a receipt was given under limits of this mark.
pub(super) fn is_under(serial: u64, mark: u64) -> bool {
    serial >> COUNT_BITS == SHARED | mark
}

/// What the response to a request depends on.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) key: Key,
    pub(super) name: Arc<[u8]>,
    pub(super) tags: Vec<Tag>,
    pub(super) plan: Option<InPlan>,
    pub(super) op: Op,
    pub(super) cost: u64,
    pub(super) scale: Scale,
    /// The authority's epoch when the request was made.
    pub(super) epoch: u64,
    pub(super) made_at: Nanos,
    /// Identifies the request among the remembered denials, if its denial is remembered.
    pub(super) fingerprint: Option<Fingerprint>,
    /// The key's backlog, if it travels with the call.
    pub(super) backlog: OnceLock<Report>,
    once: Option<Once>,
    request_id: Option<RequestId>,
    /// Whether the call reports the calls with names that this node has admitted.
    pub(super) reports_names: bool,
    pub(super) receipt: Option<Receipt>,
    /// Tells the limits of its windows from others.
    pub(super) mark: u64,
}

/// Limits other than the limiter's own.
#[derive(Debug)]
pub(super) struct InPlan {
    plan: Plan,
    limits: Vec<(Tag, Limit)>,
    name: Option<Key>,
    /// Without a name, the plan of the last known states.
    made: Option<Made>,
}

impl Inner {
    #[inline]
    pub(super) fn in_flight(
        &self,
        plan: &Plan,
        request: &Request<'_>,
    ) -> Result<InFlight, CallError> {
        let once = |request_id: &RequestId| Once {
            id: self.seed.key(&request_id.id),
            keep: request_id.keep,
        };
        let mut in_flight = InFlight {
            key: request.key,
            name: Arc::clone(&request.name),
            tags: plan.tags(request.select)?,
            plan: self.in_plan(plan, &request.limits),
            op: request.op,
            cost: request.cost,
            scale: self.scale(),
            epoch: self.authority.epoch(),
            made_at: self.elapsed(),
            fingerprint: None,
            backlog: OnceLock::new(),
            once: request.request_id.as_ref().map(once),
            request_id: request.request_id.clone(),
            reports_names: false,
            receipt: request.receipt,
            mark: 0,
        };
        in_flight.mark = plan.mark(&in_flight.tags);
        let can_be_denied = request.op == Op::Take && request.cost > 0;
        if can_be_denied && request.request_id.is_none() && self.denials.is_some() {
            in_flight.fingerprint = Some(in_flight.fingerprint(plan));
        }
        Ok(in_flight)
    }

    /// Returns the state of all windows of the key as the authority last reported it.
    pub(super) fn last(&self, in_flight: &InFlight) -> Option<Known> {
        let InFlight { epoch, key, .. } = *in_flight;
        let under = in_flight.under();
        self.last_known.last(under, epoch, key, self.elapsed())
    }

    fn in_plan(&self, plan: &Plan, limits: &Limits) -> Option<InPlan> {
        let (name, made) = match limits {
            Limits::Own => return None,
            Limits::Plan(name) => (Some(*name), None),
            Limits::Changed(changes) => {
                self.last_known.lengthen(&plan.limits());
                (None, self.last_known.made(changes))
            }
        };
        Some(InPlan {
            plan: plan.clone(),
            limits: plan.limits(),
            name,
            made,
        })
    }

    /// Asks this node's own count a question about the request, as of now.
    pub(super) fn ask_fallback<R>(
        &self,
        in_flight: &InFlight,
        ask: impl FnOnce(Question) -> R,
    ) -> R {
        self.clock.tick();
        ask(Question {
            key: in_flight.key,
            name: &in_flight.name,
            tags: &in_flight.tags,
            limits: in_flight.limits(),
            cost: in_flight.cost,
            now: self.clock.shown(),
            once: in_flight.once,
            request_id: in_flight.request_id.as_ref(),
            takes_names: in_flight.reports_names,
            last: &|| self.last(in_flight),
        })
    }
}

impl InFlight {
    /// Returns the call that asks the authority.
    #[inline]
    pub(super) fn call(&self, plan: &Plan, request_id: Option<RequestId>) -> Call {
        Call {
            key: Arc::clone(&self.name),
            op: self.op,
            cost: self.cost,
            scale: self.scale,
            windows: plan.window_calls(&self.tags),
            request_id,
            receipt: self.receipt,
            named: Vec::new(),
        }
    }

    pub(super) fn has_name(&self) -> bool {
        self.request_id.is_some()
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.get().is_some()
    }

    /// Returns the plan of the last known states.
    pub(super) fn under(&self) -> Under<'_> {
        match &self.plan {
            None => Under::Own,
            Some(InPlan {
                name: Some(name), ..
            }) => Under::Plan(*name),
            Some(InPlan { made, .. }) => made.as_ref().map_or(Under::Own, Under::Made),
        }
    }

    /// Returns the limits of all windows, if a plan changes them.
    pub(super) fn limits(&self) -> Option<&[(Tag, Limit)]> {
        self.plan.as_ref().map(|plan| plan.limits.as_slice())
    }

    /// Returns the windows of the plan, if there is one.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref().map(|plan| &plan.plan)
    }

    fn fingerprint(&self, plan: &Plan) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        let call = (self.key, &self.tags, self.cost, self.scale.ppm());
        call.hash(&mut hasher);
        (plan.version, self.plan.is_some().then(|| plan.print())).hash(&mut hasher);
        Fingerprint(hasher.finish())
    }
}
