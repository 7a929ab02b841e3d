//! The checks of each window.

use crate::plan::{Plan, Window};
use crate::stats::{Decisions, WindowStats};

use super::States;

/// The checks of all windows but the first. A pointer, allocated with the first of these checks: most limiters have one
/// window, and a stripe has no more room.
#[derive(Debug, Default)]
pub(super) struct Others(Option<Box<Checks>>);

#[derive(Debug)]
struct Checks(Box<[Decisions]>);

impl States {
    #[inline]
    pub(super) fn count(&mut self, plan: &Plan, window: &Window, allowed: bool) {
        self.serial += 1;
        match window.index.checked_sub(1) {
            None => self.denied += u64::from(!allowed),
            Some(other) => self.others.count(plan, other, allowed),
        }
    }

    /// Adds its checks to those of each window.
    pub(crate) fn tally(&self, windows: &mut [WindowStats]) {
        let mut first = Decisions {
            allowed: self.serial - self.first - self.denied,
            denied: self.denied,
        };
        let others = self.others.0.iter().flat_map(|checks| &checks.0);
        for (window, checks) in windows.iter_mut().skip(1).zip(others) {
            window.decisions += *checks;
            first.allowed -= checks.allowed + checks.denied;
        }
        if let Some(window) = windows.first_mut() {
            window.decisions += first;
        }
    }
}

impl Others {
    #[inline(never)]
    fn count(&mut self, plan: &Plan, other: usize, allowed: bool) {
        let checks = self.0.get_or_insert_with(|| {
            let windows = plan.windows().len() - 1;
            Box::new(Checks(vec![Decisions::default(); windows].into()))
        });
        checks.0[other].count(allowed);
    }

    /// Returns the bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let checks = self.0.as_deref();
        checks.map_or(0, |checks| size_of_val(checks) + size_of_val(&*checks.0))
    }
}
