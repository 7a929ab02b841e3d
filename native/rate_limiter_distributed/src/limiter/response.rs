//! From the authority's reply, or from its absence, to a response.

use std::sync::atomic::Ordering;

use rate_limiter_core::{Answer, Known, Nanos, Retry, Scale, Select, Tag, Under, Usage, Usages};

use crate::authority::Failure;
use crate::breaker::LONGEST_PAUSE;
use crate::call::{Call, Op, Receipt, Reply};
use crate::options::OnOutage;
use crate::request::{Response, Source, Verdict};

use super::in_flight::{serial, InFlight};
use super::inner::Inner;
use super::request::charge;

impl Inner {
    /// Returns the response to a request that was sent.
    pub(super) fn finish(&self, in_flight: &InFlight, result: Result<Reply, Failure>) -> Response {
        self.counters.pending.subtract();
        match complete(in_flight, result) {
            Ok(reply) => self.answered(in_flight, reply),
            Err(failure) => {
                self.take_back(in_flight);
                self.fall_back(in_flight, &failure)
            }
        }
    }

    /// Returns the response to a request that was not accepted.
    pub(super) fn unsent(&self, in_flight: &InFlight, failure: &Failure) -> Response {
        self.counters.pending.subtract();
        self.fall_back(in_flight, failure)
    }

    fn answered(&self, in_flight: &InFlight, reply: Reply) -> Response {
        let windows = in_flight.tags.iter().zip(&reply.windows);
        let answer = Answer::new(
            windows
                .map(|(tag, window)| (*tag, window.usage))
                .collect::<Usages>(),
        );
        let clock = self.clock.offset_of(reply.now);
        let is_charged = in_flight.op == Op::Take
            && !reply.repeated
            && answer.allowed()
            && answer.usages().iter().any(|(_, usage)| usage.fits());
        let receipt = is_charged.then(|| Receipt {
            at: reply.now,
            serial: serial(
                self.mark_of_charged(in_flight, &answer),
                self.serials.fetch_add(1, Ordering::Relaxed),
            ),
            charged: in_flight.cost,
        });
        self.adopt(in_flight, reply);
        if in_flight.op == Op::Take && !answer.allowed() {
            self.remember_denial(in_flight, &answer, clock);
        }
        Response {
            receipt,
            switched_to: self.ends_outage(in_flight).then_some(Source::Authority),
            ..self.respond(in_flight, Source::Authority, Some(answer))
        }
    }

    /// Returns what tells the limits of the charged windows from others. The receipt of a call with a name is about all of
    /// its windows, since they are part of its name.
    fn mark_of_charged(&self, in_flight: &InFlight, answer: &Answer) -> u64 {
        let usages = answer.usages();
        if usages.iter().all(|(_, usage)| usage.fits()) || in_flight.has_name() {
            return in_flight.mark;
        }
        let charged = usages.iter().filter(|(_, usage)| usage.fits());
        let charged: Vec<Tag> = charged.map(|(tag, _)| *tag).collect();
        match in_flight.plan() {
            Some(plan) => plan.mark(&charged),
            None => self.plans.load().own.mark(&charged),
        }
    }

    /// Takes over the state of the key as the authority has just reported it.
    pub(super) fn adopt(&self, in_flight: &InFlight, reply: Reply) {
        let InFlight { key, epoch, .. } = *in_flight;
        let under = in_flight.under();
        self.clock.set(reply.now);
        let missing = self.missing(in_flight, &reply);
        let states = reply.windows.into_iter().map(|window| window.state);
        let known = Known {
            at: reply.now,
            windows: in_flight.tags.iter().copied().zip(states).collect(),
        };
        if self.authority.epoch() == epoch {
            let elapsed = self.elapsed();
            self.last_known.adopt(under, epoch, key, &known, elapsed);
        } else {
            self.last_known.adopt_late(under, epoch, key, &known);
        }
        if in_flight.op == Op::Reset {
            self.fallback.reset(key, &in_flight.tags);
        }
        self.fallback
            .rebase(key, in_flight.limits(), || self.last(in_flight));
        // Again, since a denial that was decided before may have been remembered in between.
        if let (Op::Refund | Op::Reset, Some(denials)) = (in_flight.op, &self.denials) {
            denials.end(key);
        }
        if let Some(missing) = missing {
            self.restore(in_flight, &missing);
        }
    }

    /// Returns the state that this node knows of the key, if a reply has less used. Another node has given back or reset, or
    /// the authority has lost the key.
    fn missing(&self, in_flight: &InFlight, reply: &Reply) -> Option<Known> {
        let InFlight { key, epoch, .. } = *in_flight;
        let is_later = self.authority.epoch() != epoch || self.scale() != in_flight.scale;
        let lowers = matches!(in_flight.op, Op::Refund | Op::Reset);
        // With plans, a state here and one there may have drained at different rates.
        let has_plans = in_flight.plan().is_some() || self.plans.load().has_names();
        if is_later || lowers || has_plans || !self.authority.knows_resets() {
            return None;
        }
        let select = Select::Tags(&in_flight.tags);
        let known = self.last_known.peek(Under::Own, epoch, key, select, 0);
        let mut windows = known.usages().iter().zip(&reply.windows);
        // A unit may be due to rounding.
        let has_less = windows.any(|((_, known), window)| {
            let reported = window.usage;
            reported.max == known.max && reported.remaining > known.remaining.saturating_add(1)
        });
        has_less
            .then(|| self.last_known.reported(epoch, key, &in_flight.tags))
            .flatten()
    }

    /// Has the authority count what this node knows, unless it knows of a reset or refund. Nobody waits for the reply: the
    /// next one about the key tells.
    fn restore(&self, in_flight: &InFlight, missing: &Known) {
        let plans = self.plans.load();
        let mut call = Call {
            op: Op::Peek,
            cost: 0,
            receipt: None,
            ..in_flight.call(&plans.own, None)
        };
        let since = self.last_known.reported_since(in_flight.epoch);
        let lost = (missing.clone(), since);
        charge(&mut call.windows, &in_flight.tags, Some(&lost), None);
        // If it is not sent, the key begins anew.
        let _ = self.authority.send(call, Box::new(drop));
    }

    fn remember_denial(&self, in_flight: &InFlight, answer: &Answer, clock: u64) {
        let retry = answer.binding().1.retry;
        if let (Some(denials), Some(fingerprint), Retry::After(wait)) =
            (&self.denials, in_flight.fingerprint, retry)
        {
            denials.remember(in_flight.key, fingerprint, clock, in_flight.made_at, wait);
        }
    }

    /// Puts the backlog back that travelled with a call that has failed.
    pub(super) fn take_back(&self, in_flight: &InFlight) {
        if let Some(backlog) = in_flight.backlog.get() {
            self.ask_fallback(in_flight, |question| {
                self.fallback.take_back(backlog, question);
            });
        }
    }

    /// Returns this node's own response.
    pub(super) fn fall_back(&self, in_flight: &InFlight, failure: &Failure) -> Response {
        self.fallback.set_share(self.members.share());
        let admits_all = self.on_outage == OnOutage::Allow && self.fits(in_flight, &in_flight.tags);
        let answer = match (in_flight.op, self.on_outage) {
            // Only the authority can reset the key for all nodes.
            (Op::Reset, _) | (_, OnOutage::Deny) => None,
            // It may have run already, and would be given back twice.
            (Op::Refund, _) if *failure == Failure::Lost => None,
            // Only the authority knows what still counts of a call. It can be asked again: it gives back once.
            (Op::Refund, _) if in_flight.receipt.is_some() => None,
            (op, _) => self
                .ask_fallback(in_flight, |question| match op {
                    Op::Refund => self.fallback.refund(question),
                    Op::Peek => Some(self.fallback.peek(question, admits_all)),
                    _ => Some(self.fallback.take(question, admits_all)),
                })
                .map(|answer| self.until_next_probe(in_flight, answer)),
        };
        if answer.is_none() {
            self.counters.unavailable.add();
        }
        self.counters.fallbacks.add();
        Response {
            switched_to: self
                .begins_outage(in_flight, failure)
                .then_some(Source::Fallback),
            ..self.respond(in_flight, Source::Fallback, answer)
        }
    }

    /// Returns a response. It counts once somebody has received it.
    pub(super) fn respond(
        &self,
        in_flight: &InFlight,
        source: Source,
        answer: Option<Answer>,
    ) -> Response {
        let verdict = answer
            .as_ref()
            .map_or(Verdict::Unavailable, |answer| verdict(in_flight.op, answer));
        let (mut passed, mut counts_for) = (Vec::new(), None);
        if in_flight.op == Op::Take {
            let binding = answer.as_ref().map(|answer| answer.binding().0);
            counts_for = binding.or(in_flight.tags.first().copied());
            if let (Some(share), Some(answer), Verdict::Allowed) =
                (self.threshold, &answer, verdict)
            {
                passed = self.passed(in_flight, answer, share);
            }
        }
        Response {
            verdict,
            source,
            counts_for,
            receipt: None,
            answer,
            scale: in_flight.scale,
            passed,
            switched_to: None,
        }
    }

    /// Returns the windows of which the key passes the threshold with this answer, each once in its period on this
    /// node: only one of the nodes has the answer with which a key passes.
    fn passed(&self, in_flight: &InFlight, answer: &Answer, share: Scale) -> Vec<Tag> {
        let InFlight { key, cost, .. } = *in_flight;
        let mut passed = Vec::new();
        for (tag, usage) in answer.usages() {
            let answer = (*tag, usage);
            let under = in_flight.under();
            if self.last_known.passes(under, key, answer, cost, share) {
                self.counters.pass(*tag);
                passed.push(*tag);
            }
        }
        passed
    }

    /// Returns the answer with the wait for the next probe of the authority where this node's share can never admit
    /// the cost, but the whole limit can.
    fn until_next_probe(&self, in_flight: &InFlight, answer: Answer) -> Answer {
        if answer.binding().1.retry != Retry::Never {
            return answer;
        }
        let wait = Retry::After(Nanos::from(LONGEST_PAUSE));
        let usages = answer.usages().iter().map(|&(tag, usage)| {
            let waits = usage.retry == Retry::Never && self.fits(in_flight, &[tag]);
            let retry = if waits { wait } else { usage.retry };
            (tag, Usage { retry, ..usage })
        });
        Answer::new(usages.collect::<Usages>())
    }

    /// Returns whether the cost is at most what each of these windows, if it is enforced, holds when unused. If not, the authority would never
    /// admit it.
    fn fits(&self, in_flight: &InFlight, tags: &[Tag]) -> bool {
        let cost = in_flight.cost;
        if let Some(plan) = in_flight.plan() {
            return plan.fits(tags, cost, in_flight.scale);
        }
        let limits = self.last_known.limits();
        let mut selected = limits
            .iter()
            .filter(|(tag, limit, _)| tags.contains(tag) && limit.is_enforced());
        selected.all(|(_, _, max)| cost <= *max)
    }

    /// Returns whether this failure begins an outage. A single lost call, or a key that another program uses, does not.
    fn begins_outage(&self, in_flight: &InFlight, failure: &Failure) -> bool {
        let name = &in_flight.name;
        let same = |other: &[u8]| self.authority.same_server(name, other);
        matches!(failure, Failure::Away | Failure::Refused { .. })
            && self.outages.failed(name, self.elapsed(), same)
    }

    fn ends_outage(&self, in_flight: &InFlight) -> bool {
        let same = |other: &[u8]| self.authority.same_server(&in_flight.name, other);
        self.outages.any() && self.outages.answered(self.elapsed(), same)
    }
}

/// Checks that a reply covers all windows of its call.
pub(super) fn complete(
    in_flight: &InFlight,
    result: Result<Reply, Failure>,
) -> Result<Reply, Failure> {
    let reply = result?;
    if reply.windows.len() == in_flight.tags.len() {
        Ok(reply)
    } else {
        Err(Failure::Lost)
    }
}

fn verdict(op: Op, answer: &Answer) -> Verdict {
    if matches!(op, Op::Take | Op::Peek) && !answer.allowed() {
        Verdict::Denied
    } else {
        Verdict::Allowed
    }
}
