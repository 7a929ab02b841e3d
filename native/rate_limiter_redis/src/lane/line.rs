//! One connection of a lane: up or not, with what is in the air on it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::JoinHandle;

use super::flight::Flight;
use crate::connection::{Connection, Replies, Trouble};

/// A connection with the task that ends when it does.
pub(super) type Raised = Result<(Connection, JoinHandle<()>), Trouble>;
type Loaded = Result<(), Trouble>;

#[derive(Default)]
pub(super) struct Line {
    pub(super) connection: Option<Arc<Connection>>,
    end: Option<JoinHandle<()>>,
    pub(super) flights: Vec<Flight>,
    raising: Option<Pin<Box<dyn Future<Output = Raised> + Send>>>,
    loading: Option<Pin<Box<dyn Future<Output = Loaded> + Send>>>,
    /// Not before this is another connection tried.
    pub(super) retry_at: Option<Instant>,
    /// Whether there was one before.
    pub(super) was_up: bool,
}

/// What happened on a line.
pub(super) enum Event {
    /// A connection is there, or cannot be made.
    Raised(Raised),
    /// The script was loaded again, or could not be.
    Loaded(Loaded),
    /// A flight was answered.
    Landed(Box<Flight>, Replies),
    /// The connection ended.
    Ended,
}

impl Line {
    pub(super) fn raise(&mut self, raising: impl Future<Output = Raised> + Send + 'static) {
        self.raising = Some(Box::pin(raising));
        self.retry_at = None;
    }

    /// Has the connection load the script; until then it takes no more flights.
    pub(super) fn load(&mut self, loading: impl Future<Output = Loaded> + Send + 'static) {
        if self.loading.is_none() {
            self.loading = Some(Box::pin(loading));
        }
    }

    pub(super) fn is_raising(&self) -> bool {
        self.raising.is_some()
    }

    /// The connection, if another flight may start on it.
    pub(super) fn free(&self, depth: usize) -> Option<&Arc<Connection>> {
        let free = self.loading.is_none() && self.flights.len() < depth;
        self.connection.as_ref().filter(|_| free)
    }

    pub(super) fn set(&mut self, connection: Connection, end: JoinHandle<()>) {
        self.connection = Some(Arc::new(connection));
        self.end = Some(end);
        self.loading = None;
    }

    /// Lets go of the connection. It is closed when what is in the air has come down or was given up.
    pub(super) fn clear(&mut self) {
        self.connection = None;
        self.end = None;
        self.loading = None;
        self.retry_at = None;
    }

    /// Tries to connect again then.
    pub(super) fn retry(&mut self, at: Instant) {
        self.retry_at = Some(at);
    }

    /// Whether a connection is missing, or one with other credentials.
    pub(super) fn lacks_one(&self) -> bool {
        self.connection.is_none() || self.retry_at.is_some()
    }

    /// Stops trying to connect.
    pub(super) fn rest(&mut self) {
        self.raising = None;
        self.retry_at = None;
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        // Replies first: a connection may end behind its last one.
        for number in 0..self.flights.len() {
            if let Poll::Ready(replies) = self.flights[number].poll(context) {
                let flight = self.flights.swap_remove(number);
                return Poll::Ready(Event::Landed(Box::new(flight), replies));
            }
        }
        if let Some(end) = &mut self.end {
            if Pin::new(end).poll(context).is_ready() {
                self.end = None;
                return Poll::Ready(Event::Ended);
            }
        }
        if let Some(loading) = &mut self.loading {
            if let Poll::Ready(loaded) = loading.as_mut().poll(context) {
                self.loading = None;
                return Poll::Ready(Event::Loaded(loaded));
            }
        }
        if let Some(raising) = &mut self.raising {
            if let Poll::Ready(raised) = raising.as_mut().poll(context) {
                self.raising = None;
                return Poll::Ready(Event::Raised(raised));
            }
        }
        Poll::Pending
    }
}
