//! The seam between a shared limiter and the authority that decides its calls.

use crate::call::{Call, Reply};

/// The party that decides calls for all nodes: a Redis server with its scripts, or the node that owns a key.
///
/// A limiter is exact as long as its authority keeps these promises:
///
/// - **One decision at a time per key.** Calls about one key are decided one after the other, each over all its
///   windows or not at all, by one clock: the authority's. Each [`Reply`] reports that clock. If several servers share
///   the keys, their clocks must agree closely, since a node keeps one for all of them.
/// - **In order.** Calls about one key that one node sends one after the other are decided in this order, unless one
///   of them fails. A call that carries a [`Charge`](crate::Charge) would otherwise be overtaken by calls that assume
///   it was charged.
/// - **The limit of the call.** Nodes may have different limits for a while. A call is judged by its own, on what was
///   used under all of them.
/// - **Charges first.** What a call's windows carry as a [`Charge`](crate::Charge) counts before the call is decided.
/// - **Absolute states.** A [`Reply`] holds the state of each window as it is after the call, so that this node can
///   continue from it alone.
/// - **Exactly one answer.** An accepted call is answered once through its [`Done`]: with a reply, or with the
///   [`Failure`] that tells whether it may have run. A call that is not accepted is returned as [`Unsent`].
/// - **By the deadline.** The answer arrives within the authority's own timeout and a small grace, also while
///   connections are lost and made again.
/// - **A new epoch after each possible loss.** See [`epoch`](Self::epoch).
///
/// No method may block, since callers are Erlang schedulers, and none may call `done` before it returns, since the
/// caller may hold the key's lock.
pub trait Authority: Send + Sync {
    /// Sends a call, or returns it if it is certain that it will not run.
    fn send(&self, call: Call, done: Done) -> Result<(), Unsent>;

    /// Sends calls in one round trip as far as possible. Returns those that were not accepted.
    fn send_batch(&self, calls: Vec<(Call, Done)>) -> Vec<Unsent> {
        let send = |(call, done)| self.send(call, done).err();
        calls.into_iter().filter_map(send).collect()
    }

    /// Returns a number that grows whenever states may have been lost since: a reconnection, another primary, another
    /// owner of the keys.
    ///
    /// A state that was reported under an earlier epoch is sent along with the next call about its key as "at least",
    /// so an epoch too many costs some bytes, and one too few costs what was lost.
    fn epoch(&self) -> u64;

    /// Whether it keeps the moments of resets and refunds, and so restores nothing from before them (see
    /// [`Charge`](crate::Charge)). Then a node also restores what a reply shows to be lost.
    fn knows_resets(&self) -> bool {
        false
    }

    /// Whether one server decides both keys now, so that both are away at the same time.
    fn same_server(&self, _one: &[u8], _other: &[u8]) -> bool {
        true
    }
}

/// Receives the result of a call, exactly once, on any thread. Must not block.
pub type Done = Box<dyn FnOnce(Result<Reply, Failure>) + Send>;

/// A call that was not accepted.
pub struct Unsent {
    /// The call.
    pub call: Call,
    /// Its callback, which was not called.
    pub done: Done,
    /// Why the call was not accepted.
    pub failure: Failure,
}

/// Why the authority did not answer a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Not sent: no connection, the breaker is open, or the deadline passed in the queue.
    Away,
    /// Not sent: too many calls are queued.
    Full,
    /// May have run: no reply before the deadline, or the connection broke.
    Lost,
    /// Not run: the authority refused it.
    Refused {
        /// The error's code, such as `OOM`, `READONLY` or `NOPERM`.
        code: Box<str>,
        /// The whole error message.
        message: Box<str>,
    },
    /// This key holds a value that is not a state, written by another program. Not run, unless the authority took the
    /// value for a state, and only this node refuses it.
    Foreign(Box<str>),
}
