//! Totals and size of a limiter.

use std::ops::AddAssign;

/// Totals of a limiter since it was opened, and its present size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys remembered now.
    pub keys: u64,
    /// Ids of calls remembered now, so that repeated calls are not charged again.
    pub names: u64,
    /// Slots that a sweep inspects until it has visited all keys and ids.
    pub slots: u64,
    /// Bytes of memory of the keys and ids now.
    pub bytes: u64,
    /// Checks.
    pub checks: u64,
    /// Checks that were denied.
    pub denials: u64,
    /// Checks that were decided by the overflow state, since there was no room for their key.
    pub overflowed: u64,
    /// Idle keys that were forgotten.
    pub swept: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.names += other.names;
        self.slots += other.slots;
        self.bytes += other.bytes;
        self.checks += other.checks;
        self.denials += other.denials;
        self.overflowed += other.overflowed;
        self.swept += other.swept;
    }
}
