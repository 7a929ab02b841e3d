//! Connections: made, made again, and left.

use std::sync::Arc;
use std::time::Instant;

use super::{home, Driver, RETRY};
use crate::connection::{Connection, Trouble};
use crate::context::{count, jitter};
use crate::eviction;
use crate::lane::line::Raised;
use crate::lane::probe::probe;
use crate::observer::Change;
use crate::topology::slot;
use rate_limiter_distributed::breaker::State;

impl Driver {
    /// Tries to connect where that is missing and due: one at a time while it is not known that it helps.
    pub(super) fn raise(&mut self, now: Instant) {
        if self.breaker.probe_at().is_some_and(|due| due <= now) {
            let change = self.breaker.probe(now);
            self.turned(change, "it is time to try again");
        }
        let tried = match self.breaker.state() {
            State::Closed => self.lines.len(),
            State::HalfOpen => 1,
            State::Open => 0,
        };
        for number in 0..tried {
            let line = &self.lines[number];
            let due = line.retry_at.is_none_or(|due| due <= now);
            if line.lacks_one() && !line.is_raising() && due {
                self.raise_line(number);
            }
        }
    }

    pub(super) fn raise_line(&mut self, number: usize) {
        let (context, board) = (Arc::clone(&self.context), Arc::clone(&self.board));
        if home(&self.role).is_some_and(|home| slot::of(&self.probe.key) != home) {
            self.probe = Arc::new(probe(&context.prefix, home(&self.role)));
        }
        let probe = Arc::clone(&self.probe);
        let station = self.role.station();
        let credentials = self.credentials.borrow_and_update().clone();
        self.lines[number].raise(async move {
            Connection::raise(
                &board.endpoint,
                &context.manner,
                &credentials,
                &probe,
                station,
            )
            .await
        });
    }

    /// A connection that was up is not any more.
    pub(super) fn ended(&mut self, number: usize, reason: &str) {
        self.lines[number].clear();
        self.trouble(Some(reason));
        self.tell(Change::Down(reason));
        self.note_trouble();
    }

    /// Goes on without a connection, if it is up.
    pub(super) fn leave(&mut self, number: usize, reason: &str) {
        if self.lines[number].connection.is_some() {
            self.ended(number, reason);
        }
    }

    pub(super) fn raised(&mut self, number: usize, raised: Raised) {
        let now = Instant::now();
        match raised {
            Ok((connection, end)) => {
                let line = &mut self.lines[number];
                if line.was_up && line.connection.is_none() {
                    self.context.new_epoch();
                    count(&self.context.counts.reconnections, 1);
                }
                line.was_up = true;
                line.set(connection, end);
                self.look_at_memory(number);
                self.trouble(None);
                self.tell(Change::Up);
                let change = self.breaker.probe_succeeded();
                self.turned(change, "it was tried and works");
            }
            Err(trouble) => self.not_raised(number, now, &trouble),
        }
    }

    /// Has it found out what becomes of keys in the server when that is full. One connection is enough to ask.
    fn look_at_memory(&self, number: usize) {
        if let (0, Some(connection)) = (number, &self.lines[number].connection) {
            let (context, board) = (Arc::clone(&self.context), Arc::clone(&self.board));
            tokio::spawn(eviction::watch(Arc::downgrade(connection), context, board));
        }
    }

    pub(super) fn not_raised(&mut self, number: usize, now: Instant, trouble: &Trouble) {
        let reason = trouble.reason();
        self.trouble(Some(reason));
        self.tell(match trouble {
            Trouble::Credentials(_) => Change::Refused(reason),
            Trouble::Failed(_) | Trouble::Unfit(_) => Change::Failed(reason),
        });
        self.note_trouble();
        let change = if self.breaker.state() == State::HalfOpen {
            self.breaker.probe_failed(now, jitter())
        } else if self.lines.iter().any(|line| line.connection.is_some()) {
            // Where one is up, this was one with other credentials: those that are refused will be so again.
            let is_up = self.lines[number].connection.is_some();
            if !is_up || matches!(trouble, Trouble::Failed(_)) {
                self.lines[number].retry(now + RETRY);
            }
            None
        } else {
            self.breaker.trip(now, jitter())
        };
        self.turned(change, reason);
    }

    /// There are other credentials: they are tried before what is up is left.
    pub(super) fn renew(&mut self) {
        self.credentials.mark_unchanged();
        self.alarm = None;
        match self.breaker.state() {
            State::Closed => (0..self.lines.len()).for_each(|number| self.raise_line(number)),
            State::HalfOpen => self.raise_line(0),
            State::Open => self.breaker.hurry(Instant::now()),
        }
    }
}
