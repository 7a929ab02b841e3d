//! The peers of the Elixir benchmarks: governor behind a bare NIF, a NIF that does nothing, a cheap clock.

// A NIF owns its decoded arguments.
#![allow(clippy::needless_pass_by_value)]

use std::num::NonZeroU32;
use std::sync::LazyLock;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use quanta::Clock;

type Limiter = DefaultKeyedRateLimiter<String>;

/// A limiter that denies no call.
static WIDE: LazyLock<Limiter> = LazyLock::new(|| limiter(60, 70_000_000));

/// A limiter that denies all calls of an id but the first.
static NARROW: LazyLock<Limiter> = LazyLock::new(|| limiter(1, 1));

static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::new);

fn limiter(an_hour: u32, burst: u32) -> Limiter {
    let [an_hour, burst] =
        [an_hour, burst].map(|n| NonZeroU32::new(n).expect("quotas are not zero"));
    RateLimiter::dashmap(Quota::per_hour(an_hour).allow_burst(burst))
}

/// Checks an id under a limit that is never reached.
#[rustler::nif]
fn check(id: String) -> bool {
    WIDE.check_key(&id).is_ok()
}

/// Checks an id under a limit of one an hour.
#[rustler::nif]
fn check_narrow(id: String) -> bool {
    NARROW.check_key(&id).is_ok()
}

/// Does nothing: the cost of a call into native code.
#[rustler::nif]
fn nothing() -> bool {
    true
}

/// Reads the counter of the processor, if it has one: cheaper than a clock of the VM.
#[rustler::nif]
fn ticks() -> u64 {
    CLOCK.raw()
}

/// Returns the time between two readings.
#[rustler::nif]
fn nanoseconds(from: u64, to: u64) -> u64 {
    CLOCK.delta_as_nanos(from, to)
}

rustler::init!("Elixir.Bench.GovernorNif");
