//! The definitions of the limits, as plainly as possible: nothing is fast here,
//! nothing is shared with the crate's own arithmetic, and numbers are wide enough never to overflow.
//!
//! A state is renewed at the first touch after a change of limit (a touch is any call for that key and window),
//! since the definition converts what was used at that time.
#![allow(dead_code)] // each test binary that includes this uses a part of it

mod bucket;
mod call;
mod fixed_window;
mod sliding_log;
mod sliding_window;
mod store;

use rate_limiter_core::{Algorithm, Limit, Usage};

use bucket::Bucket;
use fixed_window::FixedWindow;
use sliding_log::SlidingLog;
use sliding_window::SlidingWindow;

pub(crate) use call::Call;
pub(crate) use store::Model;

/// Parts per million: a scale of 1.
pub(crate) const ONE: u32 = 1_000_000;

/// One key's use of one window. Times are nanoseconds.
#[derive(Clone, Debug)]
pub(crate) enum Window {
    Bucket(Bucket),
    Sliding(SlidingWindow),
    Log(SlidingLog),
    Fixed(FixedWindow),
}

impl Window {
    /// Nothing used yet.
    pub(crate) fn new(limit: &Limit) -> Self {
        match limit.algorithm() {
            Algorithm::TokenBucket { .. } => Self::Bucket(Bucket::new(limit)),
            Algorithm::SlidingWindow { .. } => Self::Sliding(SlidingWindow::new(limit)),
            Algorithm::SlidingLog => Self::Log(SlidingLog::new(limit)),
            Algorithm::FixedWindow { .. } => Self::Fixed(FixedWindow::new(limit)),
        }
    }

    /// Converts what was used under the limit of the last touch to this one.
    pub(crate) fn touch(&mut self, limit: &Limit, now: u64) {
        match self {
            Self::Bucket(bucket) => bucket.touch(limit, now),
            Self::Sliding(window) => window.touch(limit, now),
            Self::Log(log) => log.touch(limit, now),
            Self::Fixed(window) => window.touch(limit, now),
        }
    }

    /// The answer to `cost` now, at a scale of `ppm` parts per million. Takes nothing.
    pub(crate) fn ask(&self, now: u64, cost: u64, ppm: u32) -> Usage {
        match self {
            Self::Bucket(bucket) => bucket.ask(now, cost, ppm),
            Self::Sliding(window) => window.ask(now, cost, ppm),
            Self::Log(log) => log.ask(now, cost, ppm),
            Self::Fixed(window) => window.ask(now, cost, ppm),
        }
    }

    /// Takes an admitted cost.
    pub(crate) fn take(&mut self, now: u64, cost: u64, ppm: u32) {
        match self {
            Self::Bucket(bucket) => bucket.take(now, cost, ppm),
            Self::Sliding(window) => window.take(now, cost),
            Self::Log(log) => log.take(now, cost),
            Self::Fixed(window) => window.take(now, cost),
        }
    }

    /// Refunds, never more than is used.
    pub(crate) fn refund(&mut self, now: u64, cost: u64) {
        match self {
            Self::Bucket(bucket) => bucket.refund(now, cost),
            Self::Sliding(window) => window.refund(now, cost),
            Self::Log(log) => log.refund(now, cost),
            Self::Fixed(window) => window.refund(now, cost),
        }
    }

    /// Takes a cost that another limit of the same key has admitted. With more than `max` a fixed window starts again.
    pub(crate) fn grow(&mut self, now: u64, cost: u64, max: u64) {
        self.take(now, cost, ONE);
        if let Self::Fixed(window) = self {
            window.restart_beyond(now, max);
        }
    }

    /// What is used, in units: of a bucket also a part of one.
    pub(crate) fn used(&self, now: u64) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.used(now),
            Self::Sliding(window) => window.used(now),
            Self::Log(log) => log.used(now),
            Self::Fixed(window) => window.used(now),
        }
    }

    /// Owes no more than this.
    pub(crate) fn bound(&mut self, now: u64, most: u64) {
        if let Self::Bucket(bucket) = self {
            bucket.bound(now, most);
        }
    }

    /// Whether nothing counts as used any more.
    pub(crate) fn is_unused(&self, now: u64) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.owed(now) == 0,
            Self::Sliding(window) => window.used(now) == 0,
            Self::Log(log) => log.used(now) == 0,
            Self::Fixed(window) => window.used(now) == 0,
        }
    }
}

/// `limit` at a scale, rounded down, at least 1.
fn scaled(limit: u64, ppm: u32) -> u64 {
    let scaled = u128::from(limit) * u128::from(ppm) / u128::from(ONE);
    u64::try_from(scaled).unwrap_or(u64::MAX).max(1)
}

fn per_nanos(limit: &Limit) -> u64 {
    u64::try_from(limit.per().as_nanos()).expect("a period that a limit can have")
}
