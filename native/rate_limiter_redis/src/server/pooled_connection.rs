//! One of a server's connections, with its batches in flight.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::batch::Batch;
use crate::connection::{ConnectError, Connection, Replies};

/// The round trip from which on several batches are in flight. Below it, a batch waits for the reply to the one before:
/// larger batches cost the server less.
const FAR: Duration = Duration::from_millis(2);

/// The shortest time between two batches, so that they stay few and large.
const MIN_PACE: Duration = Duration::from_millis(1);

/// How many batches leave within a long round trip.
const PACES_IN_ROUND_TRIP: u32 = 32;

/// The maximum number of batches in flight on one connection.
const MAX_BATCHES: usize = 64;

/// A connection, and the task that ends when the connection does.
pub(super) type ConnectResult = Result<(Connection, JoinHandle<()>), ConnectError>;
type LoadResult = Result<(), ConnectError>;

/// Whether the server has the lean script.
#[derive(Default)]
enum Lean {
    /// No call has needed it.
    #[default]
    Unknown,
    Loading(Pin<Box<dyn Future<Output = bool> + Send>>),
    Loaded,
    /// It could not be loaded over this connection.
    Refused,
}

/// A connection of the pool, connected or not.
#[derive(Default)]
pub(super) struct PooledConnection {
    pub(super) connection: Option<Arc<Connection>>,
    end: Option<JoinHandle<()>>,
    pub(super) batches: Vec<Batch>,
    connecting: Option<Pin<Box<dyn Future<Output = ConnectResult> + Send>>>,
    loading: Option<Pin<Box<dyn Future<Output = LoadResult> + Send>>>,
    lean: Lean,
    /// The time of the next attempt to connect, if it has to wait.
    pub(super) retry_at: Option<Instant>,
    /// Whether it was connected before.
    pub(super) was_up: bool,
    /// The smoothed time from sending a batch to its reply.
    pub(super) round_trip: Duration,
}

pub(super) enum PoolEvent {
    /// An attempt to connect ended.
    Connected(ConnectResult),
    /// The script was loaded again, or could not be.
    Loaded(LoadResult),
    /// A batch was answered, or its connection broke.
    Replied(Box<Batch>, Replies),
    /// The connection was closed.
    Closed,
}

impl PooledConnection {
    /// Connects in the background. The present connection stays in use until then.
    pub(super) fn connect(
        &mut self,
        attempt: impl Future<Output = ConnectResult> + Send + 'static,
    ) {
        self.connecting = Some(Box::pin(attempt));
        self.retry_at = None;
    }

    /// Loads the script in the background. Until then the connection takes no more batches.
    pub(super) fn load(&mut self, attempt: impl Future<Output = LoadResult> + Send + 'static) {
        if self.loading.is_none() {
            self.loading = Some(Box::pin(attempt));
        }
    }

    /// Returns whether the server has the lean script.
    pub(super) fn is_lean(&self) -> bool {
        matches!(self.lean, Lean::Loaded)
    }

    /// Returns whether a call that needs the lean script has to load it.
    pub(super) fn can_load_lean(&self) -> bool {
        matches!(self.lean, Lean::Unknown)
    }

    /// Loads the lean script in the background. Until then the general one decides all calls.
    pub(super) fn load_lean(&mut self, attempt: impl Future<Output = bool> + Send + 'static) {
        self.lean = Lean::Loading(Box::pin(attempt));
    }

    /// Learns that the server has lost the lean script.
    pub(super) fn lost_lean(&mut self) {
        self.lean = Lean::Unknown;
    }

    /// Returns the connection if it takes another batch now: if none is in flight, or if the server is far away and the
    /// last one left a while ago.
    pub(super) fn open(&self, now: Instant) -> Option<&Arc<Connection>> {
        let is_idle = self.batches.is_empty() && self.is_usable();
        let is_open = is_idle || self.opens_at().is_some_and(|opens| opens <= now);
        self.connection.as_ref().filter(|_| is_open)
    }

    /// Returns when the connection takes another batch besides those in flight, unless it waits for the next reply.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        let is_far = self.round_trip >= FAR && self.batches.len() < MAX_BATCHES;
        let last = self.batches.last().filter(|_| self.is_usable() && is_far)?;
        Some(last.sent + MIN_PACE.max(self.round_trip / PACES_IN_ROUND_TRIP))
    }

    fn is_usable(&self) -> bool {
        self.connection.is_some() && self.loading.is_none()
    }

    /// Learns how far away the server is: a quarter of the difference, so that one slow reply does not count as distance.
    pub(super) fn observe(&mut self, round_trip: Duration) {
        self.round_trip = (self.round_trip * 3 + round_trip) / 4;
    }

    pub(super) fn set(&mut self, connection: Connection, end: JoinHandle<()>) {
        self.round_trip = connection.round_trip;
        self.connection = Some(Arc::new(connection));
        self.end = Some(end);
        self.loading = None;
        self.lean = Lean::Unknown;
    }

    /// Drops the connection. It is closed once its batches in flight are answered or given up.
    pub(super) fn clear(&mut self) {
        self.connection = None;
        self.end = None;
        self.loading = None;
        self.lean = Lean::Unknown;
        self.retry_at = None;
    }

    /// Returns whether an attempt to connect is due: without a connection, or with one of old credentials.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_wanted = self.connection.is_none() || self.retry_at.is_some();
        let is_time = self.retry_at.is_none_or(|due| due <= now);
        is_wanted && is_time && self.connecting.is_none()
    }

    /// Drops the connection, and stops connecting.
    pub(super) fn shut_down(&mut self) {
        self.clear();
        self.connecting = None;
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<PoolEvent> {
        // Replies first: a connection may close right after its last one.
        for number in 0..self.batches.len() {
            if let Poll::Ready(replies) = self.batches[number].poll(context) {
                // Not swapped: the last one is the one that was sent last.
                let batch = self.batches.remove(number);
                return Poll::Ready(PoolEvent::Replied(Box::new(batch), replies));
            }
        }
        if ready(&mut self.end, context).is_some() {
            return Poll::Ready(PoolEvent::Closed);
        }
        if let Lean::Loading(attempt) = &mut self.lean {
            if let Poll::Ready(is_loaded) = attempt.as_mut().poll(context) {
                self.lean = if is_loaded {
                    Lean::Loaded
                } else {
                    Lean::Refused
                };
            }
        }
        if let Some(loaded) = ready(&mut self.loading, context) {
            return Poll::Ready(PoolEvent::Loaded(loaded));
        }
        if let Some(connected) = ready(&mut self.connecting, context) {
            return Poll::Ready(PoolEvent::Connected(connected));
        }
        Poll::Pending
    }
}

/// Polls a future, and removes it once it is ready.
fn ready<F: Future + Unpin>(
    future: &mut Option<F>,
    context: &mut Context<'_>,
) -> Option<F::Output> {
    match Pin::new(future.as_mut()?).poll(context) {
        Poll::Ready(output) => {
            *future = None;
            Some(output)
        }
        Poll::Pending => None,
    }
}
