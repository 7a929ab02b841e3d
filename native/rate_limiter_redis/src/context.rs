//! State that all servers of a client share.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::connection::ConnectOptions;
use crate::credentials::Credentials;
use crate::observer::Observer;
use crate::status::Totals;

pub(crate) struct Context {
    pub(crate) options: ConnectOptions,
    pub(crate) credentials: watch::Sender<Credentials>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) prefix: Arc<str>,
    pub(crate) timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) max_queue: usize,
    pub(crate) counts: Counts,
    epoch: AtomicU64,
}

/// The live counters behind [`Totals`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unsent: AtomicU64,
    pub(crate) reconnections: AtomicU64,
    pub(crate) opened: AtomicU64,
}

impl Context {
    pub(crate) fn new(
        options: ConnectOptions,
        config: &crate::config::Config,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            options,
            credentials: watch::Sender::new(config.credentials.clone()),
            observer,
            prefix: Arc::clone(&config.prefix),
            timeout: config.timeout,
            connections: config.connections.get(),
            max_queue: config.max_queue,
            counts: Counts::default(),
            epoch: AtomicU64::new(0),
        }
    }

    /// See [`Authority::epoch`](rate_limiter_distributed::Authority::epoch).
    pub(crate) fn epoch(&self) -> u64 {
        // Acquire: pairs with the release below.
        self.epoch.load(Ordering::Acquire)
    }

    /// Begins a new epoch, since states may have been lost.
    pub(crate) fn advance_epoch(&self) {
        // Release: the I/O thread advances the epoch before it sends calls over the new connection or to the new
        // server, so a caller that learns of their answers also sees the new epoch.
        self.epoch.fetch_add(1, Ordering::Release);
    }
}

impl Counts {
    pub(crate) fn totals(&self) -> Totals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Totals {
            calls: read(&self.calls),
            batches: read(&self.batches),
            timeouts: read(&self.timeouts),
            refused: read(&self.refused),
            unsent: read(&self.unsent),
            reconnections: read(&self.reconnections),
            opened: read(&self.opened),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// Returns a random number, so that nodes that lost the same server do not reconnect at the same moment.
pub(crate) fn jitter() -> u64 {
    RandomState::new().build_hasher().finish()
}
