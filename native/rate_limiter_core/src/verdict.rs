//! The answer to a call.

use smallvec::SmallVec;

use crate::call::Tag;
use crate::clock::Nanos;

/// When the same call can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// It was admitted, as each call is by a limit in shadow mode. If the limit was enforced, the call could succeed after
    /// this time: zero if at once, the largest one if never.
    Unenforced(Nanos),
    /// It was admitted.
    Now,
    /// After exactly this time, if no other call takes in between, and not before.
    After(Nanos),
    /// Never, at the present limit and scale: the cost is above the maximum.
    Never,
}

/// The answer of one window to a call.
///
/// ```
/// use rate_limiter_core::{Limit, Nanos, Retry, SingleLimiter};
/// use std::time::Duration;
///
/// let mut limiter = SingleLimiter::new(&Limit::token_bucket(1, Duration::from_nanos(100)))?;
/// assert!(limiter.check(Nanos(0), 1).allowed());
/// let denied = limiter.check(Nanos(40), 1);
/// assert_eq!((denied.max, denied.remaining, denied.retry), (1, 0, Retry::After(Nanos(60))));
/// assert_eq!((denied.next_after, denied.reset_after), (Nanos(60), Nanos(60)));
/// assert_eq!(limiter.check(Nanos(40), 2).retry, Retry::Never);
/// # Ok::<(), rate_limiter_core::LimitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The most that can be taken at once.
    pub max: u64,
    /// What is left: after the call if it was admitted, else now.
    pub remaining: u64,
    /// How long until one more unit is left. Zero if as much is left as can be.
    pub next_after: Nanos,
    /// How long until nothing counts as used any more.
    pub reset_after: Nanos,
    /// When the same call can succeed.
    pub retry: Retry,
}

impl Usage {
    /// A value to be overwritten by the answer.
    pub(crate) const UNKNOWN: Self = Self {
        max: 0,
        remaining: 0,
        next_after: Nanos(0),
        reset_after: Nanos(0),
        retry: Retry::Never,
    };

    /// Returns whether this window admits the call.
    #[inline]
    #[must_use]
    pub const fn allowed(&self) -> bool {
        matches!(self.retry, Retry::Now | Retry::Unenforced(_))
    }

    /// Returns whether this window admits the call only because it is in shadow mode.
    #[inline]
    #[must_use]
    pub const fn would_deny(&self) -> bool {
        matches!(self.retry, Retry::Unenforced(wait) if wait.0 > 0)
    }

    /// Returns whether the call is within the limit, so that its cost was taken if the other windows admit it, too.
    #[inline]
    #[must_use]
    pub const fn fits(&self) -> bool {
        matches!(self.retry, Retry::Now | Retry::Unenforced(Nanos(0)))
    }

    /// Returns the answer of the same window under a limit that is enforced or not.
    #[inline]
    #[must_use]
    pub const fn enforced(self, is_enforced: bool) -> Self {
        if is_enforced {
            return self;
        }
        let wait = match self.retry {
            Retry::Now => Nanos(0),
            Retry::After(wait) | Retry::Unenforced(wait) => wait,
            Retry::Never => Nanos(u64::MAX),
        };
        Self {
            retry: Retry::Unenforced(wait),
            ..self
        }
    }
}

/// The usage of each window of a call. One or two windows, which is nearly every call, allocate nothing.
pub type Usages = SmallVec<[(Tag, Usage); 2]>;

/// The answers of several windows to one call, decided together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    usages: Usages,
    binding: usize,
}

impl Answer {
    /// Returns the answer of the windows of one call, at least one, in their configured order.
    ///
    /// Without a window, [`binding`](Self::binding) panics.
    #[must_use]
    pub fn new(usages: impl Into<Usages>) -> Self {
        let usages = usages.into();
        let binding = binding(&usages);
        Self { usages, binding }
    }

    /// Returns whether every window admits the call. Otherwise no window has taken anything.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.binding().1.allowed()
    }

    /// Returns the window that decided: of those that denied the call, the one with the longest wait; of an admitted
    /// call, the one with the least left. A window in shadow mode only if all are.
    #[must_use]
    pub fn binding(&self) -> &(Tag, Usage) {
        &self.usages[self.binding]
    }

    /// Returns the usage of each window, in their configured order.
    #[must_use]
    pub fn usages(&self) -> &[(Tag, Usage)] {
        &self.usages
    }
}

/// Returns the place of the window that binds: the longest denial; if all windows admit the call, the one with the least
/// left. Windows in shadow mode come last, and among them the one that would deny for longest. Ties: the first.
pub(crate) fn binding(usages: &[(Tag, Usage)]) -> usize {
    let rank = |usage: &Usage| (std::cmp::Reverse(usage.retry), usage.remaining);
    let places = 0..usages.len();
    places.min_by_key(|&at| rank(&usages[at].1)).unwrap_or(0)
}
