//! What goes well or not: told to the breaker, the observer, the board and whoever knows the topology.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Driver;
use crate::context::{count, jitter};
use crate::lane::flight::Flight;
use crate::lane::Note;
use crate::observer::{BatchEvent, BreakerEvent, Change, ConnectionEvent};
use rate_limiter_distributed::breaker::{self, State};

impl Driver {
    pub(super) fn succeeded(&mut self) {
        self.breaker.succeed();
        if self.troubled && self.breaker.state() == State::Closed {
            self.trouble(None);
        }
    }

    /// What is wrong now, if anything is.
    pub(super) fn trouble(&mut self, reason: Option<&str>) {
        self.troubled = reason.is_some();
        self.board.set_problem(reason.map(str::to_owned));
    }

    pub(super) fn failed(&mut self, now: Instant, reason: &dyn Display) {
        let change = self.breaker.fail(now, jitter());
        if change.is_some() {
            let reason = reason.to_string();
            self.trouble(Some(&reason));
            self.note_trouble();
            self.turned(change, &reason);
        }
    }

    /// The breaker may have changed: acts on it, and tells.
    pub(super) fn turned(&mut self, change: breaker::Change, reason: &str) {
        let Some((from, to)) = change else { return };
        self.board.set_state(to);
        self.alarm = None;
        if to == State::Open {
            count(
                &self.context.counts.opened,
                usize::from(from == State::Closed),
            );
            self.shut();
        }
        self.context.observer.breaker(&BreakerEvent {
            server: &self.board.server,
            from,
            to,
            reason,
        });
    }

    /// Nobody waits any more but those in the air, whose deadline is near.
    pub(super) fn shut(&mut self) {
        for line in &mut self.lines {
            line.clear();
            line.rest();
        }
        let waiting = std::mem::take(&mut self.waiting);
        let later = std::mem::take(&mut self.later);
        self.board.dequeue(waiting.len());
        count(&self.context.counts.unsent, waiting.len() + later.len());
        // The breaker is not closed any more: what is gathered now is let go.
        while let Ok(parcel) = self.queue.try_recv() {
            self.gather(parcel);
        }
    }

    pub(super) fn report(&self, flight: &Flight, now: Instant, failure: Option<&str>) {
        self.context.observer.batch(&BatchEvent {
            server: &self.board.server,
            calls: flight.calls,
            duration: now - flight.sent,
            failure,
        });
    }

    pub(super) fn tell(&self, change: Change<'_>) {
        self.context.observer.connection(&ConnectionEvent {
            server: &self.board.server,
            change,
        });
    }

    pub(super) fn note_trouble(&self) {
        if let Some(notes) = &self.role.notes {
            drop(notes.send(Note::Trouble));
        }
    }

    pub(super) fn show(&self) {
        let up = self
            .lines
            .iter()
            .filter(|line| line.connection.is_some())
            .count();
        let flights = self.lines.iter().flat_map(|line| &line.flights);
        let flying = flights.map(|flight| flight.live).sum();
        self.board.connections.store(up, Ordering::Relaxed);
        self.board.flying.store(flying, Ordering::Relaxed);
    }
}
