//! The answer to one call.

use crate::call::Tag;
use crate::clock::Nanos;

/// When the same call can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// It just did.
    Now,
    /// Exactly then, if nobody else takes meanwhile, and not before.
    After(Nanos),
    /// Never, at the present limit and scale: the cost is above the maximum.
    Never,
}

/// What one window says of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The most that can be taken at once.
    pub max: u64,
    /// What is left: after the call if it was allowed, else now.
    pub remaining: u64,
    /// How long until nothing counts as used any more.
    pub reset_after: Nanos,
    /// When the same call can succeed.
    pub retry: Retry,
}

impl Usage {
    /// What stands where an answer will be written.
    pub(crate) const UNKNOWN: Self = Self {
        max: 0,
        remaining: 0,
        reset_after: Nanos(0),
        retry: Retry::Never,
    };

    /// Whether this window lets the call through.
    #[inline]
    #[must_use]
    pub const fn allowed(&self) -> bool {
        matches!(self.retry, Retry::Now)
    }
}

/// What several windows say of one call, judged together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    usages: Vec<(Tag, Usage)>,
    binding: usize,
}

impl Answer {
    /// Of the windows of one call, at least one, in the order in which they were configured.
    ///
    /// # Panics
    ///
    /// Asking for the binding one of none panics.
    #[must_use]
    pub fn new(usages: Vec<(Tag, Usage)>) -> Self {
        // A denial binds by how long it lasts; if all allow, the one with the least left binds. Ties: the first.
        let rank = |usage: &Usage| (std::cmp::Reverse(usage.retry), usage.remaining);
        let binding = (0..usages.len())
            .min_by_key(|&at| rank(&usages[at].1))
            .unwrap_or(0);
        Self { usages, binding }
    }

    /// Whether every window lets the call through; none has taken anything otherwise.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.binding().1.allowed()
    }

    /// The window that denied the call, the one that denies it longest if several did; or, if it was allowed, the one
    /// with the least left.
    #[must_use]
    pub fn binding(&self) -> &(Tag, Usage) {
        &self.usages[self.binding]
    }

    /// What each window says, in the order in which they were configured.
    #[must_use]
    pub fn usages(&self) -> &[(Tag, Usage)] {
        &self.usages
    }
}
