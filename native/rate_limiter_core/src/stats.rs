//! Totals and size of a limiter.

use std::ops::AddAssign;

use crate::call::Tag;

/// Totals of a limiter since it was opened, and its present size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The totals of each window, in their configured order.
    pub windows: Vec<WindowStats>,
    /// Keys remembered now.
    pub keys: u64,
    /// Ids of calls remembered now, so that repeated calls are not charged again.
    pub names: u64,
    /// Slots that a sweep inspects until it has visited all keys and ids.
    pub slots: u64,
    /// Bytes of memory of the keys and ids now.
    pub bytes: u64,
    /// Checks that were decided by the overflow state, since there was no room for their key.
    pub overflowed: u64,
    /// Idle keys that were forgotten.
    pub swept: u64,
}

/// Totals of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowStats {
    /// The window.
    pub tag: Tag,
    /// Its checks. A check of several windows counts once, for its binding window: the one that denied it, or has the
    /// least left.
    pub decisions: Decisions,
    /// Calls with which a key passed the threshold.
    pub passed: u64,
    /// Admitted calls that the window would have denied if it was enforced. Among them are those of which another window
    /// is the binding one.
    pub would_deny: u64,
}

/// Checks by their result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Checks that were admitted.
    pub allowed: u64,
    /// Checks that were denied.
    pub denied: u64,
}

/// What a change of limits would do to the present keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Keys that have used something that still counts.
    pub keys: u64,
    /// Keys among them that every window admits now, and that one of the new limits would deny. By a cost of 1.
    pub denied: u64,
}

impl AddAssign for Preview {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.denied += other.denied;
    }
}

impl Stats {
    /// Returns the checks of all windows.
    #[must_use]
    pub fn decisions(&self) -> Decisions {
        let mut sum = Decisions::default();
        for window in &self.windows {
            sum += window.decisions;
        }
        sum
    }
}

impl Decisions {
    /// Counts one check.
    #[inline]
    pub(crate) fn count(&mut self, allowed: bool) {
        self.allowed += u64::from(allowed);
        self.denied += u64::from(!allowed);
    }
}

impl AddAssign for Decisions {
    fn add_assign(&mut self, other: Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
    }
}

/// Adds sizes and totals. The windows are counted by [`Limiter::stats`](crate::Limiter::stats), which knows their tags.
impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.names += other.names;
        self.slots += other.slots;
        self.bytes += other.bytes;
        self.overflowed += other.overflowed;
        self.swept += other.swept;
    }
}
