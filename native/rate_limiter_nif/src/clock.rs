//! The clock of limits, and clocks that tests set.

use std::sync::Arc;

use rate_limiter_core::{utc_ahead, ManualClock, Nanos};
use rustler::{NifResult, Resource, ResourceArc};

use crate::catch_panic::catch_panic;

/// A manual clock. It lives as long as a term or a limiter refers to it.
pub(crate) struct SharedClock(pub(crate) Arc<ManualClock>);

#[rustler::resource_impl]
impl Resource for SharedClock {}

/// Returns the milliseconds that UTC, since 1970, is ahead of the clock of limits.
#[rustler::nif]
fn utc_ahead_ms() -> NifResult<u64> {
    catch_panic(|| Ok(utc_ahead().0 / 1_000_000))
}

#[rustler::nif]
fn manual_clock(start_ns: u64) -> NifResult<ResourceArc<SharedClock>> {
    catch_panic(|| {
        let clock = ManualClock::new(Nanos(start_ns));
        Ok(ResourceArc::new(SharedClock(Arc::new(clock))))
    })
}

#[rustler::nif]
fn manual_clock_now(clock: ResourceArc<SharedClock>) -> u64 {
    clock.0.now().0
}

#[rustler::nif]
fn manual_clock_set(clock: ResourceArc<SharedClock>, now_ns: u64) -> u64 {
    clock.0.set(Nanos(now_ns));
    now_ns
}

#[rustler::nif]
fn manual_clock_advance(clock: ResourceArc<SharedClock>, ns: u64) -> u64 {
    clock.0.advance(Nanos(ns)).0
}
