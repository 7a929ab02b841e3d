//! Limits of all algorithms, and short forms of what the tests do with them.

use std::time::Duration;

use rate_limiter_core::{Limit, Retry, Tag};
use rate_limiter_distributed::{Op, Reply};

use crate::redis_limiter::RedisLimiter;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const DAY: u64 = 86_400 * SECOND;
pub(crate) const START: u64 = 1_735_689_600 * SECOND;

/// One limit of each algorithm: 10 in 10 seconds.
pub(crate) fn limits() -> Vec<(Tag, Limit)> {
    let per = Duration::from_secs(10);
    let limits = [
        Limit::token_bucket(10, per),
        Limit::sliding_window(10, per),
        Limit::sliding_log(10, per),
        Limit::fixed_window(10, per),
        Limit::fixed_window(10, per).from_first_use(),
    ];
    (0..).zip(limits).collect()
}

pub(crate) fn tags() -> Vec<Tag> {
    limits().iter().map(|(tag, _)| *tag).collect()
}

pub(crate) fn allowed(reply: &Reply) -> bool {
    reply
        .windows
        .iter()
        .all(|row| row.usage.retry == Retry::Now)
}

pub(crate) fn remaining(reply: &Reply) -> Vec<u64> {
    reply
        .windows
        .iter()
        .map(|row| row.usage.remaining)
        .collect()
}

impl RedisLimiter {
    /// Takes a cost from one window.
    pub(crate) fn take(&mut self, now: u64, tag: Tag, cost: u64) -> Reply {
        self.send_one(now, &self.build(Op::Take, "ann", &[tag], cost))
    }
}
