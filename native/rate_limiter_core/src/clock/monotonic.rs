//! The monotonic clock, read in half the time that the operating system takes.
//!
//! Reading the clock is a large part of a check. On x86-64 the time stamp counter is read directly, and converted to
//! nanoseconds by an anchor: a pair of readings, of the counter and of the operating system's clock, and the rate
//! between them. The anchor is renewed every 50 ms, so the difference is the drift between both clocks in 50 ms (some
//! nanoseconds), and it never adds up. If the counter jumps (a virtual machine moved, a machine slept), the anchor is
//! too old, and the next call reads the operating system's clock.
//!
//! Without a constant rate of the counter, and on other processors, this is the operating system's clock.

use std::sync::OnceLock;
use std::time::Instant;

use super::nanos::Nanos;

/// Returns the monotonic time since its first use in this program.
#[inline]
#[must_use]
pub fn monotonic() -> Nanos {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    {
        counter::now()
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    {
        system()
    }
}

/// Returns the operating system's monotonic time since it was first read.
fn system() -> Nanos {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    Nanos::from(ZERO.get_or_init(Instant::now).elapsed())
}

#[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
mod counter {
    use super::super::anchor::{Anchor, Anchored};
    use super::{system, Nanos, OnceLock};

    static ANCHOR: Anchored = Anchored::new();

    /// The most ticks, about a microsecond, between two readings of the counter around one of the operating system's
    /// clock.
    const MAX_GAP: u64 = 3_000;

    #[inline]
    pub(super) fn now() -> Nanos {
        let ticks = ticks();
        match ANCHOR.nanos(ticks) {
            Some(nanos) => Nanos(nanos),
            None => renew(),
        }
    }

    /// Reads the operating system's clock, and makes that the anchor for the next 50 ms.
    #[cold]
    #[inline(never)]
    fn renew() -> Nanos {
        // The first reading, and with it the longest base for the rate.
        static FIRST: OnceLock<(u64, u64)> = OnceLock::new();
        let before = ticks();
        let nanos = system().0;
        let gap = ticks().wrapping_sub(before);
        // A thread that was interrupted between the readings has a pair that does not belong together. As an anchor it
        // would give all callers a late clock, or a wrong rate.
        if gap < MAX_GAP && has_constant_rate() {
            let ticks = before.wrapping_add(gap / 2);
            let &(first_nanos, first_ticks) = FIRST.get_or_init(|| (nanos, ticks));
            let spans = (
                nanos.saturating_sub(first_nanos),
                ticks.wrapping_sub(first_ticks),
            );
            if let Some(anchor) = Anchor::new(nanos, ticks, spans) {
                ANCHOR.set(anchor);
            }
        }
        Nanos(nanos)
    }

    #[allow(unsafe_code)]
    #[inline]
    fn ticks() -> u64 {
        // SAFETY: every x86-64 processor has the instruction. If an operating system forbids it to programs (no system
        // that runs Erlang does by default), it traps without an effect.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    /// Returns whether the processor promises a counter of constant rate (`CPUID` 8000\_0007h, EDX bit 8).
    fn has_constant_rate() -> bool {
        static CONSTANT: OnceLock<bool> = OnceLock::new();
        *CONSTANT.get_or_init(|| {
            let leaf = 0x8000_0007;
            let highest = core::arch::x86_64::__cpuid(0x8000_0000).eax;
            highest >= leaf && core::arch::x86_64::__cpuid(leaf).edx & 1 << 8 != 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_operating_system() {
        // Long enough for the anchor to be made, used and renewed many times.
        let end = system().0 + 400_000_000;
        let mut compared = 0;
        loop {
            let before = system().0;
            let now = monotonic().0;
            let after = system().0;
            assert!(now + 20_000 >= before, "{now} is long before {before}");
            assert!(now <= after + 20_000, "{now} is long after {after}");
            compared += 1;
            if after > end {
                break;
            }
        }
        assert!(compared > 1_000);
    }
}
