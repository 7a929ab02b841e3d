//! The arithmetic that a local and a shared limiter have in common, free of how either stores its states.

use crate::clock::Nanos;
use crate::verdict::{Retry, Usage};

/// Returns the usage of a window that counts amounts: a fixed or sliding window, or a log.
///
/// `wait` returns how long it takes until an amount of what is used has left the window, and `reset_after` how long
/// until all of it has, if the cost is taken (`true`) or not.
///
/// ```
/// use rate_limiter_core::arithmetic::usage;
/// use rate_limiter_core::{Nanos, Retry};
///
/// let wait = |amount| Nanos(amount * 10);
/// let denied = usage(5, 4, 3, wait, |_| Nanos(40));
/// assert_eq!((denied.remaining, denied.retry), (1, Retry::After(Nanos(20))));
/// assert_eq!(denied.next_after, Nanos(10));
/// ```
#[inline]
pub fn usage(
    max: u64,
    used: u64,
    cost: u64,
    wait: impl Fn(u64) -> Nanos,
    reset_after: impl FnOnce(bool) -> Nanos,
) -> Usage {
    let fits = cost <= max && used <= max - cost;
    let retry = if cost == 0 || fits {
        Retry::Now
    } else if cost > max {
        Retry::Never
    } else {
        Retry::After(wait(used - (max - cost)))
    };
    let taken = if fits { cost } else { 0 };
    let reset_after = reset_after(taken > 0);
    let next_after = match used {
        // Only this cost is in use, and all of it leaves at once.
        0 => reset_after,
        // After a change of the limit, more may be in use than the maximum.
        _ => wait(used.saturating_sub(max) + 1),
    };
    Usage {
        max,
        remaining: max.saturating_sub(used + taken),
        next_after,
        reset_after,
        retry,
    }
}

/// Returns the place of the oldest of `counts`, newest first, that is still counted when `amount` has left the window.
/// `None` if they are less.
#[inline]
pub fn last_to_leave<C>(counts: &[C], amount: u64) -> Option<usize>
where
    C: Copy + Into<u64>,
{
    let mut left = 0;
    counts.iter().rposition(|&count| {
        left += count.into();
        left >= amount
    })
}

/// The length of a sub-window: 28 bits and a power of ten of 4 bits, so that a state can hold it in 32 bits. It is
/// exact for whole seconds, minutes, hours and days, and otherwise rounded up by at most 0.000004 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// As a state holds it.
    pub cell: u32,
    /// In the unit of the span that it was made from.
    pub span: u64,
}

impl Width {
    const MANTISSA_BITS: u32 = 28;

    /// Returns the smallest width that is not shorter than `span`, which is below `2^58`.
    #[must_use]
    pub fn at_least(span: u64) -> Self {
        let (mut exponent, mut mantissa) = (0, span);
        while mantissa >> Self::MANTISSA_BITS != 0 {
            exponent += 1;
            mantissa = span.div_ceil(10_u64.pow(exponent));
        }
        // At most 28 bits by the choice of the exponent.
        let mantissa = u32::try_from(mantissa).unwrap_or(u32::MAX);
        Self::of(mantissa | exponent << Self::MANTISSA_BITS)
    }

    /// Returns the width that a state holds.
    #[must_use]
    pub fn of(cell: u32) -> Self {
        let mantissa = u64::from(cell & ((1 << Self::MANTISSA_BITS) - 1));
        Self {
            cell,
            span: mantissa * 10_u64.pow(cell >> Self::MANTISSA_BITS),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_width_is_rounded_up_by_next_to_nothing_and_restored_from_its_cell(
            span in prop_oneof![1..1_u64 << 58, 1..1_u64 << 30, Just((1 << 58) - 1)],
        ) {
            let width = Width::at_least(span);
            prop_assert!(width.span >= span);
            prop_assert!(u128::from(width.span - span) * 25_000_000 <= u128::from(span));
            prop_assert_eq!(Width::of(width.cell), width);
        }
    }

    #[test]
    fn the_width_of_a_common_period_is_exact() {
        let second = 1_000_000_000;
        let (minute, hour, day) = (60 * second, 3_600 * second, 86_400 * second);
        for per in [
            second / 1_000,
            second,
            minute,
            hour,
            day,
            7 * day,
            365 * day,
        ] {
            for sub_windows in [1, 2, 4, 5, 10, 20, 60, 100, 120] {
                if per % sub_windows == 0 {
                    let span = per / sub_windows;
                    assert_eq!(Width::at_least(span).span, span, "{per} / {sub_windows}");
                }
            }
        }
    }
}
