//! What comes back: handed out, sent on, tried again or counted as a failure.

use std::sync::Arc;
use std::time::Instant;

use super::{Driver, HOPS, MOVING};
use crate::connection::Replies;
use crate::context::count;
use crate::error::{self, Fate, Refusal};
use crate::lane::flight::{Flight, Group, Said};
use crate::lane::Note;
use crate::ticket::Ticket;
use rate_limiter_distributed::breaker::State;
use rate_limiter_distributed::Failure;

impl Driver {
    pub(super) fn landed(&mut self, number: usize, flight: Flight, replies: Replies) {
        let now = Instant::now();
        let mut flight = flight;
        let groups = std::mem::take(&mut flight.groups);
        let mut failure = (flight.live == 0).then(|| Box::from("timeout"));
        match replies {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                for group in groups {
                    if group.asking {
                        replies.next();
                    }
                    let reply = replies.next().unwrap_or(redis::Value::Nil).extract_error();
                    let said = self.settle(number, group, reply, now);
                    failure = failure.or(said);
                }
            }
            Err(error) => {
                for group in groups {
                    let said = self.settle(number, group, Err(error.clone()), now);
                    failure = failure.or(said);
                }
            }
        }
        self.report(&flight, now, failure.as_deref());
    }

    /// Answers the calls of one command, or sends them on. Says what failed, if anything did.
    fn settle(
        &mut self,
        number: usize,
        mut group: Group,
        reply: Result<redis::Value, redis::RedisError>,
        now: Instant,
    ) -> Option<Box<str>> {
        match reply {
            Ok(value) => match group.answer(value) {
                Said::All { foreign } => {
                    self.succeeded();
                    self.found_foreign(foreign)
                }
                Said::Less => {
                    self.failed(now, &"the script's reply cannot be read");
                    Some("reply".into())
                }
            },
            Err(error) => match Fate::of(&error) {
                Fate::Load if group.calls_only() => {
                    self.load(number);
                    self.again(group, now);
                    None
                }
                Fate::Elsewhere {
                    address,
                    slot,
                    asking,
                } if self.role.home.is_some() => {
                    self.send_on(group, address, slot, asking);
                    None
                }
                Fate::Later => {
                    self.postpone(group, now);
                    None
                }
                Fate::Broken(reason) => {
                    self.broken(number, group, &reason, now);
                    Some("closed".into())
                }
                Fate::Refused(refusal) => Some(self.refused(number, group, refusal, now)),
                Fate::Load | Fate::Elsewhere { .. } => {
                    let refusal = error::refusal(&error)?;
                    Some(self.refused(number, group, refusal, now))
                }
            },
        }
    }

    /// Keys of so many calls hold what is none of ours. The server works, and the breaker stays closed; but these calls
    /// are answered without it until somebody clears that up.
    fn found_foreign(&mut self, calls: usize) -> Option<Box<str>> {
        if calls == 0 {
            return None;
        }
        count(&self.context.counts.refused, calls);
        let words = format!(
            "WRONGTYPE a key that begins with {} holds what no limiter wrote: delete it, and give limits a prefix or a \
             database of their own",
            self.context.prefix
        );
        self.trouble(Some(&words));
        Some("WRONGTYPE".into())
    }

    /// Loads the script where it is missing.
    fn load(&mut self, number: usize) {
        let line = &mut self.lines[number];
        if let Some(connection) = line.connection.clone() {
            let (probe, station) = (Arc::clone(&self.probe), self.role.station());
            line.load(async move { connection.greet(&probe, station).await });
        }
    }

    /// Puts calls that were not run first in line.
    fn again(&mut self, group: Group, now: Instant) {
        let tickets = self.unsent(group, now);
        self.board.enqueue(tickets.len());
        for ticket in tickets.into_iter().rev() {
            self.waiting.push_front(ticket);
        }
        self.alarm = None;
    }

    /// Those of a command that was not run that can still be sent.
    fn unsent(&self, group: Group, now: Instant) -> Vec<Ticket> {
        let mut tickets = group.unsent(now);
        if self.breaker.state() != State::Closed {
            count(&self.context.counts.unsent, tickets.len());
            tickets.clear();
        }
        tickets
    }

    /// Tries calls again in a moment, each by itself.
    fn postpone(&mut self, group: Group, now: Instant) {
        for mut ticket in self.unsent(group, now) {
            ticket.alone = true;
            let due = (now + MOVING).min(ticket.deadline);
            self.later.push((due, ticket));
        }
        self.alarm = None;
    }

    fn send_on(&mut self, group: Group, address: String, slot: u16, asking: bool) {
        let mut tickets = group.unsent(Instant::now());
        for ticket in &mut tickets {
            ticket.hops += 1;
            ticket.asking = asking;
        }
        tickets.retain_mut(|ticket| ticket.hops <= HOPS);
        let note = Note::Elsewhere {
            tickets,
            address,
            from: self.board.endpoint.clone(),
            slot,
            asking,
        };
        if let Some(notes) = &self.role.notes {
            drop(notes.send(note));
        }
    }

    fn broken(&mut self, number: usize, mut group: Group, reason: &str, now: Instant) {
        self.leave(number, reason);
        group.fail(&Failure::Lost);
        // One failure, however many calls were in the air: the server may be well, and is asked at once.
        self.failed(now, &reason);
    }

    fn refused(
        &mut self,
        number: usize,
        mut group: Group,
        refusal: Refusal,
        now: Instant,
    ) -> Box<str> {
        let failure = Failure::Refused {
            code: refusal.code.clone(),
            message: refusal.message.clone(),
        };
        let refused = group.fail(&failure);
        count(&self.context.counts.refused, refused);
        self.trouble(Some(&refusal.message));
        // What a command may not do, or finds in its way, says nothing of the server: calls go on.
        if !group.calls_only() && matches!(&*refusal.code, "ERR" | "NOPERM" | "WRONGTYPE") {
            return refusal.code;
        }
        for _ in 0..refused {
            self.failed(now, &refusal.message);
        }
        match &*refusal.code {
            // Another is primary now; or we are nobody any more.
            "READONLY" | "NOAUTH" => self.leave(number, &refusal.message),
            "CLUSTERDOWN" | "MASTERDOWN" | "LOADING" => self.note_trouble(),
            _ => {}
        }
        refusal.code
    }
}
