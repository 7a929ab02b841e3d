//! A call on its way: answered exactly once, whatever happens to it.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use rate_limiter_distributed::{Call, Done, Failure, Reply, Unsent};

use crate::command::{Command, CommandDone};

/// Holds a call, and answers it when it is dropped, if nobody has. So no path loses a caller: not an error, not a
/// panic, not a client that is stopped.
pub(crate) struct Ticket {
    ask: Ask,
    /// When it is answered at the latest.
    pub(crate) deadline: Instant,
    /// How often a server of a cluster has pointed elsewhere.
    pub(crate) hops: u8,
    /// Whether it goes where its slot is moving to, which only serves who says so.
    pub(crate) asking: bool,
    /// Whether it must not share a command: its slot is on the move.
    pub(crate) alone: bool,
    /// Whether a server may have run it.
    pub(crate) sent: bool,
}

pub(crate) enum Ask {
    Call(Call, Option<Done>),
    Command(Command, Option<CommandDone>),
}

impl Ticket {
    pub(crate) fn call(call: Call, done: Done, deadline: Instant) -> Self {
        Self::new(Ask::Call(call, Some(done)), deadline)
    }

    pub(crate) fn command(command: Command, done: CommandDone, deadline: Instant) -> Self {
        Self::new(Ask::Command(command, Some(done)), deadline)
    }

    fn new(ask: Ask, deadline: Instant) -> Self {
        Self {
            ask,
            deadline,
            hops: 0,
            asking: false,
            alone: false,
            sent: false,
        }
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.ask
    }

    /// What decides on its server.
    pub(crate) fn key(&self) -> &[u8] {
        match &self.ask {
            Ask::Call(call, _) => &call.key,
            Ask::Command(command, _) => &command.key,
        }
    }

    pub(crate) fn as_call(&self) -> Option<&Call> {
        match &self.ask {
            Ask::Call(call, _) => Some(call),
            Ask::Command(..) => None,
        }
    }

    pub(crate) fn is_answered(&self) -> bool {
        match &self.ask {
            Ask::Call(_, done) => done.is_none(),
            Ask::Command(_, done) => done.is_none(),
        }
    }

    /// Answers a call. Nothing happens if it was answered before.
    pub(crate) fn reply(&mut self, result: Result<Reply, Failure>) {
        if let Ask::Call(_, done) = &mut self.ask {
            if let Some(done) = done.take() {
                tell(|| done(result));
            }
        }
    }

    /// Answers a command. Nothing happens if it was answered before.
    pub(crate) fn value(&mut self, value: redis::Value) {
        if let Ask::Command(_, done) = &mut self.ask {
            if let Some(done) = done.take() {
                tell(|| done(Ok(value)));
            }
        }
    }

    /// Says that there is no answer. Nothing happens if it was answered before.
    pub(crate) fn fail(&mut self, failure: Failure) {
        match &mut self.ask {
            Ask::Call(_, done) => {
                if let Some(done) = done.take() {
                    tell(|| done(Err(failure)));
                }
            }
            Ask::Command(_, done) => {
                if let Some(done) = done.take() {
                    tell(|| done(Err(failure)));
                }
            }
        }
    }

    /// Says that there is no answer, and whether there may have been a call.
    pub(crate) fn give_up(&mut self) {
        let failure = if self.sent {
            Failure::Lost
        } else {
            Failure::Away
        };
        self.fail(failure);
    }

    /// Hands the call back to whoever brought it, unanswered.
    pub(crate) fn hand_back(mut self, failure: Failure) -> Option<Unsent> {
        match self.take() {
            Ask::Call(call, Some(done)) => Some(Unsent {
                call,
                done,
                failure,
            }),
            _ => None,
        }
    }

    /// Lets go of it without telling anybody: whoever brought it is told otherwise.
    pub(crate) fn forget(mut self) {
        drop(self.take());
    }

    /// Takes the call out, since what is dropped with it would be answered.
    fn take(&mut self) -> Ask {
        let nothing = Command {
            key: Arc::from([]),
            words: Vec::new(),
        };
        std::mem::replace(&mut self.ask, Ask::Command(nothing, None))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Whoever is told may be wrong, but only for itself: a panic of one must not leave the others without an answer.
fn tell(done: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(done)));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, Receiver};

    use super::*;

    fn ticket() -> (Ticket, Receiver<Result<redis::Value, Failure>>) {
        let (told, outcome) = channel();
        let command = Command {
            key: Arc::from(*b"key"),
            words: Vec::new(),
        };
        let done = move |result| told.send(result).unwrap();
        let ticket = Ticket::command(command, Box::new(done), Instant::now());
        (ticket, outcome)
    }

    #[test]
    fn it_is_answered_once() {
        let (mut ticket, outcome) = ticket();
        ticket.value(redis::Value::Okay);
        ticket.value(redis::Value::Nil);
        ticket.fail(Failure::Full);
        drop(ticket);
        assert_eq!(outcome.iter().collect::<Vec<_>>(), [Ok(redis::Value::Okay)]);
    }

    #[test]
    fn one_that_is_dropped_says_whether_it_may_have_run() {
        for (sent, failure) in [(false, Failure::Away), (true, Failure::Lost)] {
            let (mut ticket, outcome) = ticket();
            ticket.sent = sent;
            drop(ticket);
            assert_eq!(outcome.iter().collect::<Vec<_>>(), [Err(failure)]);
        }
    }

    #[test]
    fn one_that_is_forgotten_tells_nobody() {
        let (ticket, outcome) = ticket();
        ticket.forget();
        assert_eq!(outcome.iter().count(), 0);
    }

    #[test]
    fn whoever_is_told_and_panics_harms_nobody_else() {
        let command = Command {
            key: Arc::from(*b"key"),
            words: Vec::new(),
        };
        let done = Box::new(|_| panic!("on purpose"));
        drop(Ticket::command(command, done, Instant::now()));
    }
}
