//! The limiter whose usage all nodes share: it asks the authority, and continues within this node's share without it.

mod in_flight;
mod inner;
mod outages;
mod plan;
mod reconcile;
mod request;
mod response;

use std::sync::atomic::Ordering;
use std::sync::Arc;

use rate_limiter_core::{CallError, Change, Key, Limit, Preview, Scale, Tag};

use crate::authority::{Authority, Done, Failure};
use crate::denials::Denials;
use crate::error::SharedUpdateError;
use crate::meter::MeterError;
use crate::options::SharedOptions;
use crate::request::{Limits, Request, Response, Verdict};
use crate::stats::SharedStats;

use in_flight::InFlight;
use inner::Inner;
use request::{plan_of, Prepared};

/// A limiter that decides as one with all other nodes, and within its share while the authority is away.
///
/// Exact while one authority answers, whose decisions are returned unchanged. Faults admit more than the limit, each
/// time and with `on_outage: Share`:
///
/// - The authority is away from all nodes: from each node, what others used of a key since its last reply about it, at
///   most its share of the limit. Nothing if there is one node, or if the last reply of each node is up to date.
/// - One node is cut off while others continue: its share, which refills at its share of the rate as long as that
///   lasts. It is charged when the node is back.
/// - A reply is lost or late: the cost of that call, charged with the next. A call with a name is charged once.
/// - The authority loses data: what was used of a key since the last reply to the node that is the first to ask again,
///   at most the limit once; and all of it for keys that no node remembers (each remembers `remember` of them).
/// - A node starts while the authority is away: it uses its own time until the first reply, and what it admitted until
///   then is charged as of that time. With a clock that is behind by more than a window, that is lost, at most its
///   share once; with one that is ahead, a bucket's debt is as much later.
/// - An outage with more keys than `remember`: those beyond are judged together, and not charged.
///
/// In the other direction, a charge whose reply is lost counts twice, up to a full bucket or for as long as a window
/// lasts.
///
/// Each request is answered once, and never late because of the backlog of others: a key's backlog is reported with
/// the key's own next call, or in the background a few keys at a time.
#[derive(Clone)]
pub struct SharedLimiter(Arc<Inner>);

impl SharedLimiter {
    /// Creates a limiter of these windows, each with its tag and its name.
    pub fn new(
        windows: &[(Tag, &str, Limit)],
        options: SharedOptions,
        authority: Arc<dyn Authority>,
    ) -> Result<Self, MeterError> {
        Ok(Self(Arc::new(Inner::new(windows, options, authority)?)))
    }

    /// Submits a request. Returns the response if it is known at once, and drops `done` uncalled; otherwise `done`
    /// receives it once, on another thread. Never blocks.
    ///
    /// # Errors
    ///
    /// If the request selects a window that the limiter does not have.
    pub fn submit<D>(&self, request: Request<'_>, done: D) -> Result<Option<Response>, CallError>
    where
        D: FnOnce(Response) + Send + 'static,
    {
        self.report_names(&request);
        let (call, in_flight) = match self.0.prepare(request)? {
            Prepared::Known(response) => return Ok(Some(response)),
            Prepared::Send(call, in_flight) => (call, in_flight),
        };
        let sent = self.0.send(call, &in_flight, |call| {
            let done = self.callback(Arc::clone(&in_flight), done);
            self.0.authority.send(call, done)
        });
        Ok(sent
            .err()
            .map(|failure| self.0.unsent(&in_flight, &failure)))
    }

    /// Submits many requests in one round trip. Returns one place for each request, as `submit` would return it.
    ///
    /// # Errors
    ///
    /// If one of them selects a window that the limiter does not have: then none is sent.
    pub fn submit_batch<D>(
        &self,
        requests: Vec<(Request<'_>, D)>,
    ) -> Result<Vec<Option<Response>>, CallError>
    where
        D: FnOnce(Response) + Send + 'static,
    {
        let plans = self.0.plans.load();
        for (request, _) in &requests {
            plan_of(&plans, &request.limits)?.tags(request.select)?;
        }
        let mut responses = Vec::with_capacity(requests.len());
        let mut calls = Vec::with_capacity(requests.len());
        let mut sent = Vec::with_capacity(requests.len());
        for (place, (request, done)) in requests.into_iter().enumerate() {
            self.report_names(&request);
            let (call, in_flight) = match self.0.prepare(request)? {
                Prepared::Known(response) => {
                    responses.push(Some(response));
                    continue;
                }
                Prepared::Send(call, in_flight) => (call, in_flight),
            };
            let added = self.0.send(call, &in_flight, |call| {
                let done = self.callback(Arc::clone(&in_flight), done);
                if in_flight.has_backlog() {
                    // Sent first, so that a key's backlog is in flight before the next call about it.
                    return self.0.authority.send(call, done);
                }
                // The address of its windows identifies a call: no other part of it is unique.
                sent.push((call.windows.as_ptr().addr(), place, Arc::clone(&in_flight)));
                calls.push((call, done));
                Ok(())
            });
            let failure = added.err();
            responses.push(failure.map(|failure| self.0.unsent(&in_flight, &failure)));
        }
        for unsent in self.0.authority.send_batch(calls) {
            let windows = unsent.call.windows.as_ptr().addr();
            let found = sent.iter().find(|(address, ..)| *address == windows);
            if let Some((_, place, in_flight)) = found {
                responses[*place] = Some(self.0.unsent(in_flight, &unsent.failure));
            }
        }
        Ok(responses)
    }

    /// Decides a request in this node alone, for a caller that stops to wait for its reply. The authority may count the
    /// request as well.
    ///
    /// # Errors
    ///
    /// If the request selects a window that the limiter does not have.
    pub fn decide_locally(&self, request: Request<'_>) -> Result<Response, CallError> {
        Ok(match self.0.prepare(request)? {
            Prepared::Known(response) => response,
            Prepared::Send(_call, in_flight) => self.0.fall_back(&in_flight, &Failure::Lost),
        })
    }

    /// Counts a response that its caller receives. The late response to a caller that did not wait for it counts for
    /// nothing: [`decide_locally`](Self::decide_locally) has given it another one.
    pub fn count(&self, response: &Response) {
        let Some(tag) = response.counts_for else {
            return;
        };
        let counters = &self.0.counters;
        counters.respond(tag, response.source, response.verdict);
        if let (Some(answer), Verdict::Allowed) = (&response.answer, response.verdict) {
            for (tag, _) in answer.usages().iter().filter(|(_, own)| own.would_deny()) {
                counters.would_deny(*tag);
            }
        }
    }

    /// Changes the limits of some windows in this node, all of them or none. No response is decided by some of the new limits
    /// and some of the old. Usage stays.
    ///
    /// Each node changes at its own moment. In between, each judges the usage of all nodes by the limits that it knows.
    pub fn update_limits(&self, limits: &[(Tag, Limit)]) -> Result<(), SharedUpdateError> {
        let _changing = self.0.changing.lock();
        let plans = self.0.plans.load().with_limits(limits)?;
        self.0.last_known.update_limits(limits)?;
        self.0.fallback.update_limits(limits)?;
        self.0.plans.store(Arc::new(plans));
        Ok(())
    }

    /// Returns what [`update_limits`](Self::update_limits) would do to the keys whose last state this node remembers, and
    /// changes nothing.
    pub fn preview(&self, limits: &[(Tag, Limit)]) -> Result<Preview, SharedUpdateError> {
        let _valid = self.0.plans.load().own.with_limits(limits)?;
        Ok(self.0.last_known.preview(limits)?)
    }

    /// Adds plans in this node, or replaces those of the same name: other limits, of which a request names one. Adds none of
    /// them if one cannot be kept.
    ///
    /// A key has one plan at a time. While nodes or calls disagree about it, each call is judged by its own limits on
    /// what was used under all of them.
    pub fn put_plans(&self, plans: &[(Key, Vec<Change>)]) -> Result<(), SharedUpdateError> {
        let _changing = self.0.changing.lock();
        let new = self.0.plans.load().with(plans)?;
        for (name, _) in plans {
            let limits = new.of(&Limits::Plan(*name))?.limits();
            self.0.last_known.lengthen(&limits);
        }
        self.0.last_known.put_plans(plans)?;
        self.0.plans.store(Arc::new(new));
        Ok(())
    }

    /// Removes a plan from this node, and returns whether it existed.
    #[allow(clippy::must_use_candidate)] // called for its effect
    pub fn remove_plan(&self, name: Key) -> bool {
        let _changing = self.0.changing.lock();
        let Some(plans) = self.0.plans.load().without(name) else {
            return false;
        };
        self.0.plans.store(Arc::new(plans));
        self.0.last_known.remove_plan(name);
        true
    }

    /// Sets the factor on all limits.
    pub fn set_scale(&self, scale: Scale) {
        self.0.scale.store(scale.ppm(), Ordering::Relaxed);
        self.0.last_known.set_scale(scale);
        self.0.fallback.set_scale(scale);
    }

    /// Returns the factor on all limits.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.0.scale()
    }

    /// Returns each window's tag, its limit, and the largest amount that can be taken at once at the present scale.
    #[must_use]
    pub fn limits(&self) -> Vec<(Tag, Limit, u64)> {
        self.0.last_known.limits()
    }

    /// Removes idle keys from about `max_slots` slots and reports the backlog of keys that are no longer asked about.
    /// Returns the number of removed keys. Call it regularly.
    #[allow(clippy::must_use_candidate)] // called for its effect
    pub fn sweep(&self, max_slots: usize) -> usize {
        self.0.clock.tick();
        self.reconcile();
        self.0.last_known.sweep(max_slots) + self.0.fallback.sweep(max_slots)
    }

    /// Returns counts and sizes.
    #[must_use]
    pub fn stats(&self) -> SharedStats {
        let inner = &*self.0;
        let counters = &inner.counters;
        let (known, counted) = (inner.last_known.stats(), inner.fallback.stats());
        let denials = inner.denials.as_ref().map_or(0, Denials::bytes) as u64;
        SharedStats {
            windows: counters.windows(),
            cached_denials: counters.cached_denials.get(),
            fallbacks: counters.fallbacks.get(),
            unavailable: counters.unavailable.get(),
            pending: counters.pending.get(),
            remembered: known.keys,
            slots: known.slots.max(counted.slots),
            backlog: inner.fallback.backlog(),
            bytes: known.bytes + counted.bytes + denials,
            away: inner.outages.any(),
        }
    }

    fn callback<D>(&self, in_flight: Arc<InFlight>, done: D) -> Done
    where
        D: FnOnce(Response) + Send + 'static,
    {
        let limiter = self.clone();
        Box::new(move |result| {
            let is_reply = result.is_ok();
            done(limiter.0.finish(&in_flight, result));
            if is_reply {
                limiter.reconcile();
            }
        })
    }
}

impl std::fmt::Debug for SharedLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedLimiter")
            .field("plan", &self.0.plans.load().own)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
