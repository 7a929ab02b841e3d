//! From a request to a call, or to a response that is known at once.

use std::borrow::Cow;
use std::sync::Arc;

use rate_limiter_core::{CallError, Known, Nanos, Select, Tag};

use crate::authority::{Failure, Unsent};
use crate::call::{Call, Charge, Op, WindowCall};
use crate::error::SharedUpdateError;
use crate::fallback::Report;
use crate::options::OnOutage;
use crate::request::{Limits, Request, Response, Source};

use super::in_flight::{is_under, InFlight};
use super::inner::Inner;
use super::plan::{Plan, Plans};

/// The next step of a request.
pub(super) enum Prepared {
    Known(Response),
    Send(Call, Arc<InFlight>),
}

impl Inner {
    #[inline]
    pub(super) fn prepare(&self, mut request: Request<'_>) -> Result<Prepared, CallError> {
        let plans = self.plans.load();
        if request.receipt.is_some() && plans.of(&request.limits).is_err() {
            // The plan of the call was removed: nothing of the call counts as it did.
            (request.op, request.cost, request.receipt) = (Op::Peek, 0, None);
            request.limits = Limits::Own;
        }
        let plan = plan_of(&plans, &request.limits)?;
        if let Some(receipt) = request.receipt {
            let tags = plan.tags(request.select)?;
            if !is_under(receipt.serial, plan.mark(&tags)) {
                // The limits were changed, or it is of another store: nothing of the call counts as it did.
                (request.op, request.cost, request.receipt) = (Op::Peek, 0, None);
            }
        }
        let in_flight = self.in_flight(&plan, &request)?;
        self.last_known.observe(in_flight.epoch, in_flight.made_at);
        if let Some(response) = self.remembered_denial(&in_flight) {
            return Ok(Prepared::Known(response));
        }
        if let (Op::Refund | Op::Reset, Some(denials)) = (in_flight.op, &self.denials) {
            denials.end(in_flight.key);
        }
        let call = in_flight.call(&plan, request.request_id);
        Ok(Prepared::Send(call, Arc::new(in_flight)))
    }

    /// Passes a call to `send`, with everything that the authority has to count before it decides. If the call is not
    /// accepted, the backlog stays as it was.
    pub(super) fn send<T>(
        &self,
        mut call: Call,
        in_flight: &InFlight,
        send: impl FnOnce(Call) -> Result<T, Unsent>,
    ) -> Result<T, Failure> {
        self.counters.pending.add();
        let lost = self.lost(in_flight);
        let send = |report: Option<Report>| {
            charge(
                &mut call.windows,
                &in_flight.tags,
                lost.as_ref(),
                report.as_ref(),
            );
            if let Some(report) = report {
                let named = report.named.iter();
                call.named = named.map(|named| named.charge(&in_flight.tags)).collect();
                // Empty until now, since a request is sent once.
                let _ = in_flight.backlog.set(report);
            }
            send(call).map_err(|unsent| unsent.failure)
        };
        let no_backlog = in_flight.op == Op::Reset || self.on_outage == OnOutage::Deny;
        if no_backlog || !self.fallback.is_used() {
            return send(None);
        }
        self.ask_fallback(in_flight, |question| self.fallback.report(question, send))
    }

    /// Returns the state that the authority reported in an earlier epoch, and may have lost since, with the time from which on
    /// it has reported it.
    fn lost(&self, in_flight: &InFlight) -> Option<(Known, Nanos)> {
        let InFlight {
            epoch,
            key,
            ref tags,
            made_at,
            ..
        } = *in_flight;
        let under = in_flight.under();
        let (lost, since) = self
            .last_known
            .before_epoch(under, epoch, key, tags, made_at)?;
        self.clock.tick();
        Some((lost.moved(self.clock.shown()), since))
    }

    /// Returns the response to a request that was denied before and would still be.
    #[inline]
    fn remembered_denial(&self, in_flight: &InFlight) -> Option<Response> {
        let (denials, fingerprint) = (self.denials.as_ref()?, in_flight.fingerprint?);
        let InFlight { epoch, key, .. } = *in_flight;
        if !denials.hold(key, fingerprint, self.clock.offset(), in_flight.made_at) {
            return None;
        }
        self.clock.tick();
        let select = Select::Tags(&in_flight.tags);
        let (under, cost) = (in_flight.under(), in_flight.cost);
        let answer = self.last_known.peek(under, epoch, key, select, cost);
        if answer.allowed() {
            return None;
        }
        self.counters.cached_denials.add();
        Some(self.respond(in_flight, Source::Authority, Some(answer)))
    }
}

/// Returns the plan under which a request is decided. Limits that cannot be kept are an unknown plan.
pub(super) fn plan_of<'p>(plans: &'p Plans, limits: &Limits) -> Result<Cow<'p, Plan>, CallError> {
    plans.of(limits).map_err(|error| match error {
        SharedUpdateError::Call(error) => error,
        _ => CallError::UnknownPlan,
    })
}

/// Puts on each window of a call the state that the authority may have lost, and this node's backlog.
pub(super) fn charge(
    windows: &mut [WindowCall],
    tags: &[Tag],
    lost: Option<&(Known, Nanos)>,
    report: Option<&Report>,
) {
    if lost.is_none() && report.is_none() {
        return;
    }
    for (window, tag) in windows.iter_mut().zip(tags) {
        let at_least = lost.and_then(|(lost, _)| lost.window(*tag).cloned());
        let taken = report.and_then(|report| report.unnamed.window(*tag).cloned());
        if at_least.is_some() || taken.is_some() {
            window.charge = Some(Charge {
                at_least,
                since: lost.map_or(Nanos(0), |(_, since)| *since),
                taken,
                until: report.map_or(Nanos(0), |report| report.until),
            });
        }
    }
}
