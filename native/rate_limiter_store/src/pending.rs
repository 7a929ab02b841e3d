//! A call that waits for its answer.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Instant;

use rate_limiter_distributed::{Call, Done, Failure, Reply, Unsent};

/// A call in the queue.
pub(crate) struct Pending {
    pub(crate) call: Call,
    pub(crate) waiting: Waiting,
}

/// What the answer to a call needs. Dropping it unanswered reports a failure, so that every caller gets an answer on every
/// path.
pub(crate) struct Waiting {
    done: Option<Done>,
    pub(crate) deadline: Instant,
    /// Whether the store may have run it.
    pub(crate) is_sent: bool,
}

impl Pending {
    pub(crate) fn new(call: Call, done: Done, deadline: Instant) -> Self {
        let waiting = Waiting {
            done: Some(done),
            deadline,
            is_sent: false,
        };
        Self { call, waiting }
    }

    /// Returns a call that was not accepted to its caller, without calling the callback.
    pub(crate) fn into_unsent(mut self) -> Option<Unsent> {
        let done = self.waiting.done.take()?;
        Some(Unsent {
            call: self.call,
            done,
            failure: Failure::Away,
        })
    }
}

impl Waiting {
    pub(crate) fn is_answered(&self) -> bool {
        self.done.is_none()
    }

    /// Answers the call, unless it was answered before. A panic in the callback must not leave other callers without an
    /// answer.
    pub(crate) fn answer(&mut self, result: Result<Reply, Failure>) {
        if let Some(done) = self.done.take() {
            drop(catch_unwind(AssertUnwindSafe(|| done(result))));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let failure = if self.is_sent {
            Failure::Lost
        } else {
            Failure::Away
        };
        self.answer(Err(failure));
    }
}
