//! Decisions within this node's share.

use rate_limiter_core::{Answer, Join, Nanos, Once, Retry, Select, Usage, Usages};

use crate::table::{Decide, PEEK};

use super::parts::Parts;
use super::{Fallback, Named, Question};

impl Fallback {
    pub(super) fn answer(
        &self,
        question: Question,
        admits_all: bool,
        once: Option<Once>,
        decide: Decide,
    ) -> Answer {
        let parts = self.parts(question.limits);
        let _lock = self.locks.lock(question.key);
        let is_new = self.start(question, &parts);
        let name = question.request_id.filter(|_| once.is_some());
        let select = Select::Tags(question.tags);
        let before = name.and_then(|_| self.counts.read(parts.counts(), question.key, select));
        let judged = self.judge(question, &parts, once, decide);
        let answer = if admits_all && !judged.allowed() {
            self.admit(question, &parts, &judged, decide)
        } else {
            judged
        };
        if let Some(name) = name.filter(|_| answer.allowed()) {
            let after = self.counts.read(parts.counts(), question.key, select);
            let taken = after.map(|after| after.with(before.as_ref(), Join::Beyond));
            if let Some(taken) = taken.filter(|taken| !taken.is_blank()) {
                let named = Named {
                    request_id: name.clone(),
                    cost: question.cost,
                    at: question.now,
                    tags: question.tags.to_vec(),
                    taken: parts.to_own(parts.to_whole(&taken)),
                };
                self.names.put(question.key, std::iter::once(named));
            }
        }
        if answer.allowed() {
            self.admitted(question.now);
        }
        self.end(question, &parts, is_new);
        answer
    }

    /// Decides over all windows; denies where this node has no share of one.
    fn judge(
        &self,
        question: Question,
        parts: &Parts,
        once: Option<Once>,
        decide: Decide,
    ) -> Answer {
        let Question {
            key, tags, cost, ..
        } = question;
        let select = Select::Tags(tags);
        if !tags.iter().any(|&tag| parts.is_zero(tag)) {
            return match once {
                Some(once) => self
                    .counts
                    .check_once(parts.counts(), key, select, cost, once),
                None => self
                    .counts
                    .decide(parts.counts(), key, select, cost, decide),
            };
        }
        let zero = Usage {
            max: 0,
            remaining: 0,
            next_after: Nanos(0),
            reset_after: Nanos(0),
            retry: if cost > 0 { Retry::Never } else { Retry::Now },
        };
        let now = self.counts.decide(parts.counts(), key, select, 0, PEEK);
        let usages = now
            .usages()
            .iter()
            .map(|&(tag, usage)| (tag, if parts.is_zero(tag) { zero } else { usage }));
        Answer::new(usages.collect::<Usages>())
    }

    /// Admits a denied call: takes from each window as much as is left.
    fn admit(&self, question: Question, parts: &Parts, denied: &Answer, decide: Decide) -> Answer {
        let usages = denied.usages().iter().map(|&(tag, judged)| {
            let usage = if parts.is_zero(tag) {
                judged
            } else {
                let rest = judged.remaining.min(question.cost);
                let select = Select::Tags(&[tag]);
                let answer = self
                    .counts
                    .decide(parts.counts(), question.key, select, rest, decide);
                answer.binding().1
            };
            let retry = if judged.allowed() {
                judged.retry
            } else {
                Retry::Now
            };
            (tag, Usage { retry, ..usage })
        });
        Answer::new(usages.collect::<Usages>())
    }
}
