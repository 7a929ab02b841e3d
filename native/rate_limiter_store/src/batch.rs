//! Calls that are handed to a worker together, by key.

use std::collections::HashMap;
use std::sync::Arc;

use rate_limiter_core::Nanos;
use rate_limiter_distributed::{Call, Failure, Reply};

use crate::decide::{decide, Write};
use crate::pending::{Pending, Waiting};

/// The calls about one key, in order: one update of the store decides them all.
#[derive(Debug)]
pub struct KeyCalls {
    key: Arc<[u8]>,
    calls: Vec<Call>,
}

/// The decision about the calls of a key.
#[derive(Clone, Debug)]
pub struct Decided {
    about: Arc<KeyCalls>,
    replies: Vec<Result<Reply, Failure>>,
}

impl KeyCalls {
    /// Creates calls about one key, that of the first call.
    #[must_use]
    pub fn new(calls: Vec<Call>) -> Arc<Self> {
        let key = calls.first().map(|call| Arc::clone(&call.key));
        let key = key.unwrap_or_else(|| Arc::from([]));
        Arc::new(Self { key, calls })
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Decides the calls on the value that the store has now. See [`decide`].
    #[must_use]
    pub fn decide(self: &Arc<Self>, value: Option<&[u8]>, now: Nanos) -> (Write, Decided) {
        let decision = decide(&self.calls, value, now);
        let about = Arc::clone(self);
        let replies = decision.replies;
        (decision.write, Decided { about, replies })
    }
}

impl Decided {
    /// Returns the reply to each call.
    #[allow(clippy::must_use_candidate)] // results must be used anyway
    pub fn replies(&self) -> &[Result<Reply, Failure>] {
        &self.replies
    }

    /// Returns the reply to each of these calls; `None` if it is about others.
    pub(crate) fn of(self, calls: &Arc<KeyCalls>) -> Option<Vec<Result<Reply, Failure>>> {
        Arc::ptr_eq(&self.about, calls).then_some(self.replies)
    }
}

/// Groups calls by key. Those about one key keep their order.
pub(crate) fn group(pending: Vec<Pending>) -> Vec<(Arc<KeyCalls>, Vec<Waiting>)> {
    let mut places: HashMap<Arc<[u8]>, usize> = HashMap::new();
    let mut groups: Vec<(Vec<Call>, Vec<Waiting>)> = Vec::new();
    for Pending { call, waiting } in pending {
        let place = *places.entry(Arc::clone(&call.key)).or_insert(groups.len());
        if place == groups.len() {
            groups.push((Vec::new(), Vec::new()));
        }
        groups[place].0.push(call);
        groups[place].1.push(waiting);
    }
    let grouped = groups.into_iter();
    grouped
        .map(|(calls, waiting)| (KeyCalls::new(calls), waiting))
        .collect()
}
