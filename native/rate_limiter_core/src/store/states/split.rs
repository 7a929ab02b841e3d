//! Moves a part of the states to another stripe.

use crate::algorithm::State;

use super::{stride, Generation, States};

impl States {
    /// Moves the keys whose first word satisfies `leaves`. Both sides keep the overflow state, since a new key of
    /// either may have caused it.
    pub(crate) fn split(
        &mut self,
        generation: &Generation,
        other: &mut Self,
        leaves: impl Fn(u64) -> bool,
    ) {
        let plan = &generation.plan;
        let heap = self.logs.units() + other.logs.units();
        if plan.keeps_logs() {
            let (logs, others) = (&mut self.logs, &mut other.logs);
            self.segment.each_state(stride(plan), |high, state| {
                if leaves(high) {
                    for window in plan.windows() {
                        window
                            .meter
                            .hand_over(window.state(State { words: state, logs }), others);
                    }
                }
            });
        }
        (other.serial, other.first) = (self.serial, self.serial);
        other.over = self.over;
        self.segment
            .split(&mut other.segment, stride(plan), &leaves);
        if let Some(debt) = &self.overflow {
            let mut copy = debt.clone();
            for window in plan.windows() {
                // The copy refers to this side's logs, which are copied, too.
                let words = &mut copy.0[window.range()];
                window.meter.copy_over(words, &self.logs, &mut other.logs);
            }
            other.overflow = Some(copy);
        }
        let budget = &generation.accounting.budget;
        budget.adjust(heap, self.logs.units() + other.logs.units());
        self.split_copies(other, &leaves);
    }
}
