//! From a reply, or from none, to an answer.

use std::sync::atomic::Ordering;

use rate_limiter_core::{Answer, Known, Nanos, Retry, Usage};

use crate::authority::Failure;
use crate::call::{Op, Reply, WindowReply};
use crate::fallback::Question;
use crate::options::OnOutage;
use crate::request::{Response, Source, Verdict};

use super::request::Asked;
use super::Inner;

impl Inner {
    /// A call that was sent has ended so.
    pub(super) fn finish(&self, asked: &Asked, result: Result<Reply, Failure>) -> Response {
        self.counters.pending.subtract();
        match result {
            Ok(reply) if reply.windows.len() == asked.tags.len() => self.answered(asked, reply),
            Ok(_) => self.lost(asked, &Failure::Lost),
            Err(failure) => self.lost(asked, &failure),
        }
    }

    /// A call was not taken on.
    pub(super) fn handed_back(&self, asked: &Asked, failure: &Failure) -> Response {
        self.counters.pending.subtract();
        self.unanswered(asked, failure)
    }

    fn lost(&self, asked: &Asked, failure: &Failure) -> Response {
        self.put_back(asked);
        self.unanswered(asked, failure)
    }

    fn answered(&self, asked: &Asked, reply: Reply) -> Response {
        let usages = asked.tags.iter().zip(&reply.windows);
        let answer = Answer::new(usages.map(|(tag, row)| (*tag, row.usage())).collect());
        self.remember(asked, reply);
        let is_denied = matches!(asked.op, Op::Take | Op::Peek) && !answer.allowed();
        if is_denied && asked.op == Op::Take {
            self.counters.denials.add();
            self.remember_denial(asked, &answer);
        }
        let was_away =
            self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed);
        Response {
            verdict: if is_denied {
                Verdict::Denied
            } else {
                Verdict::Allowed
            },
            source: Source::Authority,
            answer: Some(answer),
            scale: asked.scale,
            switched_to: was_away.then_some(Source::Authority),
        }
    }

    /// Takes up what Redis has said of the key.
    pub(super) fn remember(&self, asked: &Asked, reply: Reply) {
        let Asked {
            key, connection, ..
        } = *asked;
        self.clock.heard(reply.now);
        let states = reply.windows.into_iter().map(|row| row.state);
        let known = Known {
            at: reply.now,
            windows: asked.tags.iter().copied().zip(states).collect(),
        };
        if self.authority.epoch() == connection {
            let elapsed = self.elapsed();
            self.last_known.adopt(connection, key, &known, elapsed);
        } else {
            self.last_known.adopt_late(connection, key, &known);
        }
        if asked.op == Op::Reset {
            self.fallback.reset(key, &asked.tags);
        }
        self.fallback.answered(key, || self.last(asked));
        // Also now: a denial from before may have come in between.
        if let (Op::Refund | Op::Reset, Some(denials)) = (asked.op, &self.denials) {
            denials.end(key);
        }
    }

    fn remember_denial(&self, asked: &Asked, answer: &Answer) {
        let wait = answer.binding().1.retry;
        if let (Some(denials), Some(call), Retry::After(wait)) =
            (&self.denials, asked.fingerprint, wait)
        {
            denials.keep(asked.key, call, asked.sent, wait);
        }
    }

    /// The call has failed that was to tell what the key owes.
    pub(super) fn put_back(&self, asked: &Asked) {
        if let Some(debt) = &asked.debt {
            self.clock.tick();
            let last = || self.last(asked);
            let question = Question::of(asked, self.clock.shown(), &last);
            self.fallback.untold(debt, question);
        }
    }

    /// What this node says by itself.
    pub(super) fn unanswered(&self, asked: &Asked, failure: &Failure) -> Response {
        self.clock.tick();
        self.fallback.renew(self.members.share());
        let last = || self.last(asked);
        let question = Question::of(asked, self.clock.shown(), &last);
        let lets_all_through = self.on_outage == OnOutage::Allow && self.can_be_met(asked);
        let answer = match (asked.op, self.on_outage) {
            // Nobody but Redis can do that for all nodes. One that may have run cannot be done again.
            (Op::Reset, _) | (_, OnOutage::Deny) => None,
            (Op::Refund, _) if *failure == Failure::Lost => None,
            (Op::Refund, _) => Some(self.fallback.refund(question)),
            (Op::Peek, _) => Some(self.fallback.peek(question, lets_all_through)),
            (Op::Take, _) => Some(self.fallback.take(question, lets_all_through)),
        };
        let is_denied = matches!(asked.op, Op::Take | Op::Peek)
            && answer.as_ref().is_some_and(|answer| !answer.allowed());
        let verdict = match &answer {
            None => Verdict::Unavailable,
            Some(_) if is_denied => Verdict::Denied,
            Some(_) => Verdict::Allowed,
        };
        match verdict {
            Verdict::Unavailable => self.counters.unavailable.add(),
            Verdict::Denied if asked.op == Op::Take => self.counters.denials.add(),
            _ => (),
        }
        self.counters.fallbacks.add();
        Response {
            verdict,
            source: Source::Fallback,
            answer,
            scale: asked.scale,
            switched_to: self.switched_to(failure),
        }
    }

    /// Whether the cost is within what every window holds when nothing is used: else Redis, too, would never allow it.
    fn can_be_met(&self, asked: &Asked) -> bool {
        let limits = self.last_known.limits();
        let mut asked_about = limits.iter().filter(|(tag, ..)| asked.tags.contains(tag));
        asked_about.all(|(_, _, max)| asked.cost <= *max)
    }

    /// A call that is lost now and then, or one key that another program holds, is no outage.
    fn switched_to(&self, failure: &Failure) -> Option<Source> {
        let is_outage = matches!(failure, Failure::Away | Failure::Refused { .. });
        let begins = is_outage
            && !self.away.load(Ordering::Relaxed)
            && !self.away.swap(true, Ordering::Relaxed);
        begins.then_some(Source::Fallback)
    }

    /// What Redis said last of the key, of all windows.
    fn last(&self, asked: &Asked) -> Option<Known> {
        self.last_known
            .last(asked.connection, asked.key, self.elapsed())
    }
}

impl<'a> Question<'a> {
    fn of(asked: &'a Asked, now: Nanos, last: &'a dyn Fn() -> Option<Known>) -> Self {
        Self {
            key: asked.key,
            name: &asked.name,
            tags: &asked.tags,
            cost: asked.cost,
            now,
            once: asked.once,
            last,
        }
    }
}

impl WindowReply {
    fn usage(&self) -> Usage {
        Usage {
            max: self.max,
            remaining: self.remaining,
            reset_after: self.reset_after,
            retry: self.retry,
        }
    }
}
