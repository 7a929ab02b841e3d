//! What other limits would do to the keys, and to forget all keys.

use crate::algorithm::{Logs, State};
use crate::clock::Nanos;
use crate::plan::Plan;
use crate::scale::Scale;
use crate::stats::Preview;

use super::{clear_all, stride, Copies, Generation, Overflow, Segment, States, KEY_WORDS};

/// The memory of forgotten keys.
pub(crate) struct Forgotten {
    _segment: Segment,
    _logs: Logs,
    _overflow: Option<Box<Overflow>>,
    _copies: Option<Box<Copies>>,
}

impl States {
    /// Counts the keys that have used something, and those among them that the generation admits and `plan` would deny.
    pub(crate) fn preview(
        &self,
        generation: &Generation,
        plan: &Plan,
        now: Nanos,
        scale: Scale,
    ) -> Preview {
        let mut preview = Preview::default();
        let mut words = generation.plan.blank().to_vec();
        let mut logs = Logs::default();
        for row in self.segment.occupied(stride(&generation.plan)) {
            let state = &row[KEY_WORDS..];
            if generation.is_idle(state, &self.logs, now) {
                continue;
            }
            words.copy_from_slice(state);
            for window in generation.plan.windows() {
                let words = &mut words[window.range()];
                window.meter.copy_over(words, &self.logs, &mut logs);
            }
            preview.keys += 1;
            if admits(&generation.plan, &mut words, &mut logs, now, scale)
                && !admits(plan, &mut words, &mut logs, now, scale)
            {
                preview.denied += 1;
            }
            clear_all(plan, &mut words, &mut logs);
        }
        preview
    }

    /// Forgets all keys, and ends all calls.
    pub(crate) fn forget(&mut self, generation: &Generation) -> Forgotten {
        let budget = &generation.accounting.budget;
        budget.adjust(self.segment.keys() as u64 + self.logs.units(), 0);
        self.end_calls();
        Forgotten {
            _segment: std::mem::take(&mut self.segment),
            _logs: std::mem::take(&mut self.logs),
            _overflow: self.overflow.take(),
            _copies: self.copies.take(),
        }
    }
}

/// Returns whether all windows of a plan admit a cost of 1. Converts the state to the limits of the plan.
fn admits(plan: &Plan, words: &mut [u64], logs: &mut Logs, now: Nanos, scale: Scale) -> bool {
    plan.windows().iter().all(|window| {
        let meter = &window.meter;
        meter.renew(window.state(State { words, logs }), now);
        let usage = meter.decide(&words[window.range()], logs, now, 1, scale);
        usage.allowed() || !window.limit.is_enforced()
    })
}
