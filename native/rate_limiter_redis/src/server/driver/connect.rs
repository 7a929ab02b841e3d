//! Connecting, reconnecting, and dropping connections.

use std::sync::Arc;
use std::time::Instant;

use rate_limiter_distributed::breaker::State;
use tokio::task::JoinHandle;

use super::{Driver, RECONNECT_PAUSE};
use crate::connection::{ConnectError, Connection};
use crate::context::{count, jitter};
use crate::observer::Change;
use crate::server::eviction;
use crate::server::health_check::health_check;
use crate::slot;

impl Driver {
    /// Connects where a connection is missing and an attempt is due. While the breaker is half-open, connects one only.
    pub(super) fn connect(&mut self, now: Instant) {
        if self.breaker.probe_at().is_some_and(|due| due <= now) {
            let change = self.breaker.probe(now);
            self.breaker_changed(change, "it is time to try again");
        }
        let connections = match self.breaker.state() {
            State::Closed => self.pool.len(),
            State::HalfOpen => 1,
            State::Open => 0,
        };
        for at in 0..connections {
            if self.pool[at].is_due(now) {
                self.connect_one(at);
            }
        }
    }

    fn connect_one(&mut self, at: usize) {
        let slot = self.kind.slot();
        if slot.is_some_and(|slot| slot::of(&self.health_check.key) != slot) {
            self.health_check = Arc::new(health_check(&self.context.prefix, slot));
        }
        let (context, status) = (Arc::clone(&self.context), Arc::clone(&self.status));
        let (health_check, kind) = (Arc::clone(&self.health_check), self.kind.clone());
        let credentials = self.credentials.borrow_and_update().clone();
        self.pool[at].connect(async move {
            let (endpoint, options) = (&status.endpoint, &context.options);
            Connection::connect_checked(endpoint, options, &credentials, &health_check, &kind).await
        });
    }

    pub(super) fn connected(&mut self, at: usize, connection: Connection, end: JoinHandle<()>) {
        let pooled = &mut self.pool[at];
        if pooled.was_up && pooled.connection.is_none() {
            self.context.advance_epoch();
            count(&self.context.counts.reconnections, 1);
        }
        pooled.was_up = true;
        pooled.set(connection, end);
        self.status.set_round_trip(pooled.round_trip);
        self.watch_eviction(at);
        self.set_problem(None);
        self.report_connection(Change::Up);
        let change = self.breaker.probe_succeeded(Instant::now());
        self.breaker_changed(change, "it was tried and works");
    }

    /// Watches the eviction policy over the first connection.
    fn watch_eviction(&self, at: usize) {
        if let (0, Some(connection)) = (at, &self.pool[at].connection) {
            let (context, status) = (Arc::clone(&self.context), Arc::clone(&self.status));
            tokio::spawn(eviction::watch(Arc::downgrade(connection), context, status));
        }
    }

    pub(super) fn connect_failed(&mut self, at: usize, error: &ConnectError) {
        let (now, reason) = (Instant::now(), error.reason());
        self.set_problem(Some(reason));
        self.report_connection(match error {
            ConnectError::Credentials(_) => Change::Refused(reason),
            ConnectError::Failed(_) | ConnectError::Refused(_) => Change::Failed(reason),
        });
        self.rediscover();
        let change = if self.breaker.state() == State::HalfOpen {
            self.breaker.probe_failed(now, jitter())
        } else if self.pool.iter().any(|pooled| pooled.connection.is_some()) {
            self.retry_later(at, now, error);
            None
        } else {
            self.breaker.trip(now, jitter())
        };
        self.breaker_changed(change, reason);
    }

    /// Schedules another attempt. A connection that is up was to be replaced because of new credentials: if those were
    /// refused, they would be refused again.
    fn retry_later(&mut self, at: usize, now: Instant, error: &ConnectError) {
        let pooled = &mut self.pool[at];
        if pooled.connection.is_none() || matches!(error, ConnectError::Failed(_)) {
            pooled.retry_at = Some(now + RECONNECT_PAUSE);
        }
    }

    /// A connection that was up is lost.
    pub(super) fn disconnected(&mut self, at: usize, reason: &str) {
        self.pool[at].clear();
        self.set_problem(Some(reason));
        self.report_connection(Change::Down(reason));
        self.rediscover();
    }

    /// Drops the connection, if it is up.
    pub(super) fn disconnect(&mut self, at: usize, reason: &str) {
        if self.pool[at].connection.is_some() {
            self.disconnected(at, reason);
        }
    }

    /// Connects with the new credentials. The connections that are up are in use until then.
    pub(super) fn credentials_changed(&mut self) {
        self.credentials.mark_unchanged();
        self.alarm = None;
        match self.breaker.state() {
            State::Closed => (0..self.pool.len()).for_each(|at| self.connect_one(at)),
            State::HalfOpen => self.connect_one(0),
            State::Open => self.breaker.hurry(Instant::now()),
        }
    }
}
