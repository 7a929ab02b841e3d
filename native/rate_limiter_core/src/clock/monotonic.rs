//! The monotonic clock, read in half the time that the operating system takes.
//!
//! Reading the clock is a large part of a check. On x86-64 the time stamp counter is read directly, and converted to
//! nanoseconds by an anchor: a pair of readings, of the counter and of the operating system's clock, and the rate
//! between them. The anchor is renewed every 50 ms, so the difference is the drift between both clocks in 50 ms (some
//! nanoseconds), and it never adds up. If the counter jumps (a virtual machine moved), the anchor is too old, and the
//! next call reads the operating system's clock. If the counter stood still during a suspend, the anchor is used until
//! 50 ms of running time have passed: so long this clock is late by the suspend.
//!
//! Without a constant rate of the counter, and on other processors, this is the operating system's clock.

use super::nanos::Nanos;
use super::system::system;

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

#[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
mod counter {
    use std::sync::OnceLock;

    use parking_lot::Mutex;

    use super::super::anchor::Anchored;
    use super::super::readings::{Reading, Readings};
    use super::{system, Nanos};

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
        static READINGS: Mutex<Readings> = Mutex::new(Readings::new());
        // One thread is enough, and the others do not wait for it. Locked before the clocks are read, so that readings
        // are added in their order.
        let readings = READINGS.try_lock();
        let before = ticks();
        let nanos = system().0;
        let gap = ticks().wrapping_sub(before);
        // A thread that was interrupted between the readings has a pair that does not belong together. As an anchor it
        // would give all callers a late clock, or a wrong rate.
        if let Some(mut readings) = readings.filter(|_| gap < MAX_GAP && has_constant_rate()) {
            let ticks = before.wrapping_add(gap / 2);
            if let Some(anchor) = readings.add(Reading { nanos, ticks }) {
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
