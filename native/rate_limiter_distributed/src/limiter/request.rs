//! From a question to a call, or to an answer that is known at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use rate_limiter_core::{CallError, Key, Known, Nanos, Once, Scale, Select, Tag};

use crate::authority::{Failure, Unsent};
use crate::call::{Call, Charge, Op, RequestId, WindowCall};
use crate::denials::Fingerprint;
use crate::fallback::Question;
use crate::options::OnOutage;
use crate::request::{Request, Response, Source, Verdict};

use super::Inner;

/// What becomes of a question.
pub(super) enum Prepared {
    Known(Response),
    Send(Call, Asked),
}

/// A question that was sent, as far as its answer has to know it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) name: Arc<[u8]>,
    pub(super) tags: Vec<Tag>,
    pub(super) op: Op,
    pub(super) cost: u64,
    pub(super) scale: Scale,
    pub(super) once: Option<Once>,
    /// The connection that was there when it was asked.
    pub(super) connection: u64,
    pub(super) sent: Nanos,
    /// What a denial of it is remembered by, if it is.
    pub(super) fingerprint: Option<Fingerprint>,
    /// What the key owes, which travels along.
    pub(super) debt: Option<Known>,
}

impl Inner {
    pub(super) fn prepare(&self, ask: Request<'_>) -> Result<Prepared, CallError> {
        let plan = self.plan.load();
        let tags = plan.tags(ask.select)?;
        let takes = ask.op == Op::Take;
        if takes {
            self.counters.checks.add();
        }
        let mut asked = Asked {
            key: ask.key,
            name: ask.name,
            tags,
            op: ask.op,
            cost: ask.cost,
            scale: self.scale(),
            once: ask.request_id.as_ref().map(|request| self.once(request)),
            connection: self.authority.epoch(),
            sent: self.elapsed(),
            fingerprint: None,
            debt: None,
        };
        self.last_known.note(asked.connection, asked.sent);
        if takes && ask.cost > 0 && ask.request_id.is_none() && self.denials.is_some() {
            asked.fingerprint = Some(asked.fingerprint(plan.version));
            if let Some(outcome) = self.denied_before(&asked) {
                return Ok(Prepared::Known(outcome));
            }
        }
        if let (Op::Refund | Op::Reset, Some(denials)) = (ask.op, &self.denials) {
            denials.end(asked.key);
        }
        let call = Call {
            key: Arc::clone(&asked.name),
            op: asked.op,
            cost: asked.cost,
            scale: asked.scale,
            windows: plan.calls(&asked.tags),
            request_id: ask.request_id,
        };
        Ok(Prepared::Send(call, asked))
    }

    /// Sends a call by `send`, with what Redis is to know before it decides. What is handed back is not owed any less.
    pub(super) fn send<T>(
        &self,
        mut call: Call,
        asked: Asked,
        send: impl FnOnce(Call, Arc<Asked>) -> Result<T, Unsent>,
    ) -> Result<T, (Arc<Asked>, Failure)> {
        self.counters.pending.add();
        let lost = self
            .last_known
            .lost(asked.connection, asked.key, &asked.tags, asked.sent);
        let lost = lost.map(|lost| {
            self.clock.tick();
            lost.moved(self.clock.shown())
        });
        let place = |asked: Asked, debt: Option<Known>| {
            charge(&mut call.windows, &asked.tags, lost.as_ref(), debt.as_ref());
            let asked = Arc::new(Asked { debt, ..asked });
            let handed = Arc::clone(&asked);
            send(call, asked).map_err(|unsent| (handed, unsent.failure))
        };
        let owes_nothing = asked.op == Op::Reset || self.on_outage == OnOutage::Deny;
        if owes_nothing || !self.fallback.is_used() {
            return place(asked, None);
        }
        self.clock.tick();
        let now = self.clock.shown();
        let (tags, name) = (asked.tags.clone(), Arc::clone(&asked.name));
        let (key, connection) = (asked.key, asked.connection);
        let said = || self.last_known.last(connection, key, self.elapsed());
        let question = Question {
            key,
            name: &name,
            tags: &tags,
            cost: asked.cost,
            now,
            once: asked.once,
            last: &said,
        };
        self.fallback.bring(question, |debt| place(asked, debt))
    }

    fn once(&self, request: &RequestId) -> Once {
        Once {
            id: self.seed.key(&request.id),
            keep: request.keep,
        }
    }

    /// The answer to a call that was denied before, and would still be.
    fn denied_before(&self, asked: &Asked) -> Option<Response> {
        let (denials, call) = (self.denials.as_ref()?, asked.fingerprint?);
        if !denials.hold(asked.key, call, asked.sent) {
            return None;
        }
        self.clock.tick();
        let select = Select::Tags(&asked.tags);
        let answer = self
            .last_known
            .peek(asked.connection, asked.key, select, asked.cost)?;
        if answer.allowed() {
            return None;
        }
        self.counters.denials.add();
        self.counters.cached_denials.add();
        Some(Response {
            verdict: Verdict::Denied,
            source: Source::Authority,
            answer: Some(answer),
            scale: asked.scale,
            switched_to: None,
        })
    }
}

/// Puts on the windows of a call what was lost of each, and what is owed of it.
fn charge(windows: &mut [WindowCall], tags: &[Tag], lost: Option<&Known>, debt: Option<&Known>) {
    if lost.is_none() && debt.is_none() {
        return;
    }
    for (window, tag) in windows.iter_mut().zip(tags) {
        let charge = Charge {
            at_least: lost.and_then(|lost| lost.window(*tag).cloned()),
            taken: debt.and_then(|debt| debt.window(*tag).cloned()),
        };
        if charge != Charge::default() {
            window.charge = Some(charge);
        }
    }
}

impl Asked {
    fn fingerprint(&self, version: u64) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        let call = (self.key, &self.tags, self.cost, self.scale.ppm(), version);
        call.hash(&mut hasher);
        Fingerprint(hasher.finish())
    }
}
