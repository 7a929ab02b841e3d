//! Calls and commands that wait for their answer.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use rate_limiter_distributed::{Call, Done, Failure, Reply, Unsent};

use redis::Cmd;
use sha1_smol::Sha1;

use crate::command::{Command, CommandDone};

const EVAL: &[u8] = b"EVAL";

/// A call or a command with its callback. Dropping it unanswered reports a failure, so that every caller gets an answer
/// on every path: after an error, a panic, or when the client is stopped.
#[allow(clippy::struct_excessive_bools)] // any of them may hold at once
pub(crate) struct Pending {
    payload: Payload,
    /// The time by which it must be answered.
    pub(crate) deadline: Instant,
    /// How often a node of a cluster has redirected it.
    pub(crate) redirects: u8,
    /// Whether to precede it with `ASKING`: it was redirected to the node that imports its slot.
    pub(crate) asking: bool,
    /// Whether it must not share a command with other calls: its slot is moving.
    pub(crate) alone: bool,
    /// Whether a server may have run it.
    pub(crate) sent: bool,
    /// Whether a script goes with its source: the server does not have it.
    pub(crate) with_source: bool,
}

/// What is sent. The callback is `None` once it was called.
pub(crate) enum Payload {
    Call(Call, Option<Done>),
    Command(Command, Option<CommandDone>),
}

/// What one caller submits at once, and what is sent together as far as possible.
pub(crate) enum Submission {
    One(Pending),
    Many(Vec<Pending>),
}

impl Pending {
    pub(crate) fn call(call: Call, done: Done, deadline: Instant) -> Self {
        Self::new(Payload::Call(call, Some(done)), deadline)
    }

    pub(crate) fn command(command: Command, done: CommandDone, deadline: Instant) -> Self {
        Self::new(Payload::Command(command, Some(done)), deadline)
    }

    fn new(payload: Payload, deadline: Instant) -> Self {
        Self {
            payload,
            deadline,
            redirects: 0,
            asking: false,
            alone: false,
            sent: false,
            with_source: false,
        }
    }

    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns a command as it is sent now.
    pub(crate) fn encoded(&self, command: &Command) -> Cmd {
        let mut encoded = Cmd::new();
        let words = match &command.words[..] {
            [eval, source, arguments @ ..] if eval == EVAL && !self.with_source => {
                encoded
                    .arg("EVALSHA")
                    .arg(Sha1::from(source).digest().to_string());
                arguments
            }
            words => words,
        };
        for word in words {
            encoded.arg(word.as_slice());
        }
        encoded
    }

    /// Sends the source of a script next time. Returns whether that makes a difference.
    pub(crate) fn add_source(&mut self) -> bool {
        let is_script = matches!(&self.payload, Payload::Command(command, _) if command.words.first().is_some_and(|word| word == EVAL));
        is_script && !std::mem::replace(&mut self.with_source, true)
    }

    /// Returns the key that selects the server.
    pub(crate) fn key(&self) -> &[u8] {
        match &self.payload {
            Payload::Call(call, _) => &call.key,
            Payload::Command(command, _) => &command.key,
        }
    }

    pub(crate) fn as_call(&self) -> Option<&Call> {
        match &self.payload {
            Payload::Call(call, _) => Some(call),
            Payload::Command(..) => None,
        }
    }

    pub(crate) fn is_answered(&self) -> bool {
        match &self.payload {
            Payload::Call(_, done) => done.is_none(),
            Payload::Command(_, done) => done.is_none(),
        }
    }

    /// Answers a call, unless it was answered before.
    pub(crate) fn reply(&mut self, result: Result<Reply, Failure>) {
        if let Payload::Call(_, done) = &mut self.payload {
            notify(done, result);
        }
    }

    /// Answers a command, unless it was answered before.
    pub(crate) fn value(&mut self, value: redis::Value) {
        if let Payload::Command(_, done) = &mut self.payload {
            notify(done, Ok(value));
        }
    }

    /// Reports a failure, unless it was answered before.
    pub(crate) fn fail(&mut self, failure: Failure) {
        match &mut self.payload {
            Payload::Call(_, done) => notify(done, Err(failure)),
            Payload::Command(_, done) => notify(done, Err(failure)),
        }
    }

    /// Reports that there is no answer, and whether a server may have run it.
    pub(crate) fn give_up(&mut self) {
        self.fail(if self.sent {
            Failure::Lost
        } else {
            Failure::Away
        });
    }

    /// Returns an unanswered call to its caller, without calling the callback.
    pub(crate) fn into_unsent(mut self, failure: Failure) -> Option<Unsent> {
        match self.take() {
            Payload::Call(call, Some(done)) => Some(Unsent {
                call,
                done,
                failure,
            }),
            _ => None,
        }
    }

    /// Drops it without calling the callback. The caller learns of the failure by a return value.
    pub(crate) fn discard(mut self) {
        drop(self.take());
    }

    /// Takes the payload out, since dropping it in place would report a failure.
    fn take(&mut self) -> Payload {
        let empty = Command {
            key: Arc::from([]),
            words: Vec::new(),
        };
        std::mem::replace(&mut self.payload, Payload::Command(empty, None))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Submission {
    pub(crate) fn into_vec(self) -> Vec<Pending> {
        match self {
            Self::One(pending) => vec![pending],
            Self::Many(pending) => pending,
        }
    }
}

/// Calls the callback at most once. A panic in it is caught, because it must not leave other callers without an answer.
fn notify<T>(done: &mut Option<Box<dyn FnOnce(T) + Send>>, result: T) {
    if let Some(done) = done.take() {
        drop(catch_unwind(AssertUnwindSafe(|| done(result))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, Receiver};

    use super::*;

    fn command() -> Command {
        Command {
            key: Arc::from(*b"key"),
            words: Vec::new(),
        }
    }

    fn pending() -> (Pending, Receiver<Result<redis::Value, Failure>>) {
        let (sender, results) = channel();
        let done = move |result| sender.send(result).unwrap();
        let pending = Pending::command(command(), Box::new(done), Instant::now());
        (pending, results)
    }

    #[test]
    fn a_callback_is_called_once() {
        let (mut pending, results) = pending();
        pending.value(redis::Value::Okay);
        pending.value(redis::Value::Nil);
        pending.fail(Failure::Full);
        drop(pending);
        assert_eq!(results.iter().collect::<Vec<_>>(), [Ok(redis::Value::Okay)]);
    }

    #[test]
    fn dropping_it_unanswered_reports_whether_it_may_have_run() {
        for (sent, failure) in [(false, Failure::Away), (true, Failure::Lost)] {
            let (mut pending, results) = pending();
            pending.sent = sent;
            drop(pending);
            assert_eq!(results.iter().collect::<Vec<_>>(), [Err(failure)]);
        }
    }

    #[test]
    fn discarding_it_calls_no_callback() {
        let (pending, results) = pending();
        pending.discard();
        assert_eq!(results.iter().count(), 0);
    }

    #[test]
    fn a_callback_that_panics_is_contained() {
        let done = Box::new(|_| panic!("on purpose"));
        drop(Pending::command(command(), done, Instant::now()));
    }
}
