//! What the Elixir benchmarks compare with: governor behind a bare NIF, a NIF that does nothing, a cheap clock.

// A NIF owns what it has decoded.
#![allow(clippy::needless_pass_by_value)]

use std::num::NonZeroU32;
use std::sync::LazyLock;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use quanta::Clock;

type Limiter = DefaultKeyedRateLimiter<String>;

/// Nothing is denied by this one.
static WIDE: LazyLock<Limiter> = LazyLock::new(|| limiter(60, 70_000_000));

/// Everything but an id's first call is denied by this one.
static NARROW: LazyLock<Limiter> = LazyLock::new(|| limiter(1, 1));

static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::new);

fn limiter(an_hour: u32, burst: u32) -> Limiter {
    let [an_hour, burst] =
        [an_hour, burst].map(|n| NonZeroU32::new(n).expect("quotas are not zero"));
    RateLimiter::dashmap(Quota::per_hour(an_hour).allow_burst(burst))
}

/// Whether an id may go on, by a limit that it never reaches.
#[rustler::nif]
fn check(id: String) -> bool {
    WIDE.check_key(&id).is_ok()
}

/// Whether an id may go on, which it may once an hour.
#[rustler::nif]
fn check_narrow(id: String) -> bool {
    NARROW.check_key(&id).is_ok()
}

/// The price of a call into native code.
#[rustler::nif]
fn nothing() -> bool {
    true
}

/// A reading of the processor's own counter where it has one: cheaper than any clock of the VM.
#[rustler::nif]
fn ticks() -> u64 {
    CLOCK.raw()
}

/// The time between two readings.
#[rustler::nif]
fn nanoseconds(from: u64, to: u64) -> u64 {
    CLOCK.delta_as_nanos(from, to)
}

rustler::init!("Elixir.Bench.GovernorNif");
