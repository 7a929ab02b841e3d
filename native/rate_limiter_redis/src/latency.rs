//! How long calls waited, in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets but the last, in microseconds. Each at most 2.5 times the one before, so that a
/// quantile between two of them is known that well.
pub const LATENCY_BOUNDS_US: [u64; 12] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
];

const BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// The calls to a server since the start by how long they waited for their result, in the queue and in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The calls of each bucket: up to each of [`LATENCY_BOUNDS_US`], then all longer ones.
    pub counts: [u64; BUCKETS],
    /// The sum of the times.
    pub sum: Duration,
}

/// The counters, as they grow. Only the server's task writes them.
#[derive(Debug, Default)]
pub(crate) struct LiveLatency {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl LiveLatency {
    pub(crate) fn record(&self, calls: u64, waited: Duration) {
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(calls, Ordering::Relaxed);
        let sum = us.saturating_mul(calls);
        self.sum_us.fetch_add(sum, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Latency {
        Latency {
            counts: self
                .counts
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed)),
            sum: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_whose_bound_is_not_below_it() {
        let latency = LiveLatency::default();
        for us in [0, 100, 101, 250, 1_000_000, 1_000_001] {
            latency.record(1, Duration::from_micros(us));
        }
        latency.record(2, Duration::from_millis(50));
        let Latency { counts, sum } = latency.snapshot();
        assert_eq!(counts, [2, 2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 1]);
        assert_eq!(sum, Duration::from_micros(2_100_452));
    }
}
