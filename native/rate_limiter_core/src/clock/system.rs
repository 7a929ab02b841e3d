//! The operating system's clock: it never runs backwards, and counts the time that the machine is suspended, where the
//! platform has such a clock.
//!
//! `Instant` does not count a suspend on Linux and on Apple's systems, so a bucket would not fill meanwhile. Both have
//! another clock that does. Windows counts it in `Instant`. On other platforms what fills is late by a suspend.

use std::sync::OnceLock;
use std::time::Instant;

use super::nanos::Nanos;

/// The first reading in this program, of the clock that all later readings use.
enum Start {
    /// Nanoseconds.
    Counted(u64),
    Instant(Instant),
}

/// Returns the time since it was first read.
pub(super) fn system() -> Nanos {
    static START: OnceLock<Start> = OnceLock::new();
    let first = || with_suspend().map_or_else(|| Start::Instant(Instant::now()), Start::Counted);
    match START.get_or_init(first) {
        // A clock that was read once can be read again.
        Start::Counted(start) => Nanos(with_suspend().map_or(0, |now| now.saturating_sub(*start))),
        Start::Instant(start) => Nanos::from(start.elapsed()),
    }
}

/// Returns the nanoseconds of the clock that counts a suspend, if the platform has one.
#[cfg(all(
    any(target_os = "linux", target_os = "android", target_vendor = "apple"),
    not(miri)
))]
#[allow(unsafe_code)]
fn with_suspend() -> Option<u64> {
    #[cfg(target_vendor = "apple")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_RAW;
    #[cfg(not(target_vendor = "apple"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;

    let mut time = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the system writes one timespec, if it returns 0, and nothing otherwise.
    let time = unsafe {
        if libc::clock_gettime(CLOCK, time.as_mut_ptr()) != 0 {
            return None;
        }
        time.assume_init()
    };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u64::try_from(time.tv_nsec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[cfg(not(all(
    any(target_os = "linux", target_os = "android", target_vendor = "apple"),
    not(miri)
)))]
fn with_suspend() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_as_fast_as_the_clock_of_the_standard_library() {
        let (system_start, start) = (system(), Instant::now());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (passed, least) = (system().saturating_sub(system_start), start.elapsed());
        let most = start.elapsed().as_nanos() + 1_000_000_000;
        assert!(
            u128::from(passed.0) + 1_000_000 >= least.as_nanos() && u128::from(passed.0) < most
        );
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn counts_a_suspend_on_linux() {
        // `/proc/uptime` is in hundredths of a second, and counts from the same moment.
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").expect("Linux shows its uptime");
            let seconds = text.split_whitespace().next().expect("two numbers");
            seconds.parse::<f64>().expect("seconds")
        };
        let before = uptime();
        #[allow(clippy::cast_precision_loss)]
        let now = with_suspend().expect("every supported Linux has the clock") as f64 / 1e9;
        assert!(
            (before - 0.02..=uptime() + 0.02).contains(&now),
            "{now} is not the time since boot"
        );
    }
}
