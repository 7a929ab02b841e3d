//! One question to Redis and its answer: what the limiter, the client and the script speak with each other.

use std::sync::Arc;

use rate_limiter_core::{Nanos, Retry, Scale, Snapshot};

use crate::meter::Meter;

/// One call about one id: all its windows are decided together, all or nothing.
#[derive(Clone, Debug)]
pub struct Call {
    /// The part that the keys of all windows share, hash tag included: `prefix:{limiter:id}`.
    pub key: Arc<[u8]>,
    /// What to do.
    pub op: Op,
    /// How much to take or to give back.
    pub cost: u64,
    /// The factor on all limits.
    pub scale: Scale,
    /// The windows asked about, in the plan's order, at least one.
    pub windows: Box<[WindowCall]>,
    /// Names the call, so that when it is made again after it was admitted it is not charged again.
    pub request: Option<Request>,
}

/// What a call does to its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Takes the cost of every window, or of none.
    Take,
    /// Answers as `Take` would. Takes nothing.
    Peek,
    /// Gives back the cost, never above full.
    Refund,
    /// Forgets what was used.
    Reset,
}

/// A name for a call, remembered when it is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the caller.
    pub id: Box<[u8]>,
    /// How long it is remembered.
    pub keep: Nanos,
}

/// One window of a call.
#[derive(Clone, Debug)]
pub struct WindowCall {
    /// How it is counted.
    pub meter: Arc<Meter>,
    /// What the node knows that Redis may not.
    pub owed: Option<Charge>,
}

/// What a node brings to Redis before a call about the key is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// What Redis said last: if it has less, it lost data, and this is put back.
    pub at_least: Option<Snapshot>,
    /// What this node let through meanwhile, on top.
    pub taken: Option<Snapshot>,
}

/// The answer to a call that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The server's time since 1970.
    pub now: Nanos,
    /// One for each window of the call, in its order.
    pub rows: Vec<Row>,
}

/// What one window says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The most that can be taken at once.
    pub max: u64,
    /// What is left: after the call if it was allowed, else now.
    pub remaining: u64,
    /// How long until nothing counts as used any more.
    pub reset_after: Nanos,
    /// When the same call can succeed.
    pub retry: Retry,
    /// The state as it is now, for whoever must go on without Redis.
    pub state: Snapshot,
}

/// Why a call has no answer from Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// There is no connection, or the breaker is open, or it still waited when its deadline came: it was not sent.
    Away,
    /// Too many calls wait already: it was not sent.
    Full,
    /// It may have run, but no answer came in time, or the connection broke.
    Lost,
    /// The server said no before it ran: its code (`OOM`, `READONLY`, `NOPERM`...) and words.
    Refused {
        /// The first word of the server's error.
        code: Box<str>,
        /// All of it.
        message: Box<str>,
    },
    /// A key of ours holds something else: which.
    Foreign(Box<str>),
}

/// Is told the outcome of a call, exactly once, from any thread. Must not block.
pub type Done = Box<dyn FnOnce(Result<Reply, Failure>) + Send>;

/// A command that is about no limiter: how nodes know of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The key whose server is meant.
    pub key: Arc<[u8]>,
    /// The command and its arguments.
    pub words: Vec<Vec<u8>>,
}

/// Is told the reply to a command, exactly once, from any thread. Must not block.
pub type CommandDone = Box<dyn FnOnce(Result<redis::Value, Failure>) + Send>;

/// A call that was not accepted, handed back.
pub struct Unsent {
    /// The call.
    pub call: Call,
    /// Not called, and not going to be.
    pub done: Done,
    /// Why.
    pub failure: Failure,
}

/// What carries calls to Redis. The client in production; in tests of what stands above it, whatever they need.
pub trait Transport: Send + Sync {
    /// Sends a call. Never blocks, and never calls `done` before it has returned; answers through `done` before its deadline and a little grace, or not at all and hands it back.
    fn send(&self, call: Call, done: Done) -> Result<(), Unsent>;

    /// Sends calls that travel together as far as they can. Hands back those that were not accepted.
    fn send_all(&self, calls: Vec<(Call, Done)>) -> Vec<Unsent> {
        let send = |(call, done)| self.send(call, done).err();
        calls.into_iter().filter_map(send).collect()
    }

    /// Sends a command that is about no limiter. Never blocks; unless it fails at once, `done` is told within the same
    /// deadline as for a call.
    fn command(&self, command: Command, done: CommandDone) -> Result<(), Failure>;

    /// Counts the times at which the server may have lost data: a reconnection, another primary.
    fn epoch(&self) -> u64;
}
