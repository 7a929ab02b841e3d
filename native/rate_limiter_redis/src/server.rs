//! A server: a queue that any thread may push to, and a task that sends what is in it.
//!
//! Calls that wait at the same time are sent together: while a batch is in flight, the next one gathers, without a
//! timer. Only the task touches connections and the breaker, so neither needs a lock.

mod batch;
mod driver;
mod eviction;
mod health_check;
mod pooled_connection;
mod recent;
mod status;

use std::sync::Arc;

use rate_limiter_distributed::breaker::State;
use rate_limiter_distributed::Failure;
use tokio::sync::mpsc;

use crate::config::Endpoint;
use crate::context::Context;
use crate::pending::{Pending, Submission};
use crate::server_kind::ServerKind;
use crate::status::ServerStatus;

use driver::Driver;
use status::LiveStatus;

/// The handle of a server. Dropping the last one closes its connections.
pub(crate) struct Server {
    queue: mpsc::UnboundedSender<Submission>,
    status: Arc<LiveStatus>,
}

impl Server {
    /// Starts the task. Must be called on the runtime.
    pub(crate) fn start(context: &Arc<Context>, endpoint: Endpoint, kind: ServerKind) -> Arc<Self> {
        let (server, submissions) = Self::detached(context, endpoint);
        let status = Arc::clone(&server.status);
        tokio::spawn(Driver::new(Arc::clone(context), status, kind, submissions).run());
        server
    }

    /// Creates a queue without a task: the caller takes the submissions.
    pub(crate) fn detached(
        context: &Context,
        endpoint: Endpoint,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Submission>) {
        let (queue, submissions) = mpsc::unbounded_channel();
        let status = Arc::new(LiveStatus::new(endpoint, context.max_queue));
        (Arc::new(Self { queue, status }), submissions)
    }

    /// Submits a call from any thread. Never blocks. Returns it if it would not be sent.
    pub(crate) fn submit(&self, pending: Pending) -> Result<(), (Pending, Failure)> {
        match self.reserve() {
            Ok(()) => self.push(pending),
            Err(failure) => Err((pending, failure)),
        }
    }

    /// Submits calls that are sent together. Returns those that would not be sent.
    pub(crate) fn submit_all(&self, calls: Vec<Pending>) -> Vec<(Pending, Failure)> {
        let (mut accepted, mut unsent) = (Vec::with_capacity(calls.len()), Vec::new());
        for pending in calls {
            match self.reserve() {
                Ok(()) => accepted.push(pending),
                Err(failure) => unsent.push((pending, failure)),
            }
        }
        if let Err(refused) = self.queue.send(Submission::Many(accepted)) {
            let refused = refused.0.into_vec();
            self.status.dequeue(refused.len());
            unsent.extend(refused.into_iter().map(|pending| (pending, Failure::Away)));
        }
        unsent
    }

    /// Submits a call that was accepted before, however long the queue is.
    pub(crate) fn transfer(&self, pending: Pending) {
        self.status.enqueue(1);
        drop(self.push(pending));
    }

    fn reserve(&self) -> Result<(), Failure> {
        if self.status.breaker() != State::Closed {
            self.status.unsent();
            return Err(Failure::Away);
        }
        if !self.status.try_enqueue() {
            self.status.unsent();
            return Err(Failure::Full);
        }
        Ok(())
    }

    fn push(&self, pending: Pending) -> Result<(), (Pending, Failure)> {
        let sent = self.queue.send(Submission::One(pending));
        sent.map_err(|refused| {
            self.status.dequeue(1);
            match refused.0 {
                Submission::One(pending) => (pending, Failure::Away),
                Submission::Many(_) => unreachable!("one call was submitted"),
            }
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.status.endpoint
    }

    /// Returns whether calls go to this server.
    pub(crate) fn is_up(&self) -> bool {
        self.status.breaker() == State::Closed
    }

    pub(crate) fn status(&self) -> ServerStatus {
        self.status.snapshot()
    }
}
