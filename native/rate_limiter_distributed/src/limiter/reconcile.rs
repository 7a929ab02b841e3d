//! Tells Redis of what keys owe that nobody asks about any more, a few at a time.
//!
//! A key that is asked about brings what it owes along. Of the others, other nodes must hear too; so while Redis
//! answers, each answer has the next few of them told, and `sweep` begins where nothing is asked at all.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use rate_limiter_core::{Nanos, Select};

use crate::authority::Failure;
use crate::call::{Call, Op, Reply};
use crate::fallback::Name;

use super::request::Asked;
use super::{Inner, SharedLimiter};

/// Keys that are on their way at once.
const BATCH: usize = 32;

/// As many are looked through at most before somebody else's turn comes, where what they owed has drained.
const ROUNDS: usize = 8;

/// After one that failed, no more are sent for so long.
const PAUSE: Nanos = Nanos(100_000_000);

impl SharedLimiter {
    /// Sends the next few, unless some are on their way or have just failed.
    pub(super) fn settle(&self) {
        for _ in 0..ROUNDS {
            if !self.settle_some() {
                return;
            }
        }
    }

    /// Returns whether all of them have ended, so that nobody but who asks begins the next few.
    fn settle_some(&self) -> bool {
        let inner = &self.0;
        if inner.fallback.names() == 0
            || inner.elapsed().0 < inner.settling_from.load(Ordering::Relaxed)
            || !inner.begin_settling()
        {
            return false;
        }
        // Each ends once, and the last one to end begins the next few.
        let names = inner.fallback.owing(BATCH);
        for _ in names.len()..BATCH {
            inner.settling.fetch_sub(1, Ordering::Relaxed);
        }
        let mut ended = false;
        for name in &names {
            ended = self.tell(name);
        }
        ended
    }

    /// Returns whether it has ended with that, and was the last on its way.
    fn tell(&self, name: &Name) -> bool {
        let inner = &self.0;
        let plan = inner.plan.load();
        let asked = Asked {
            key: name.0,
            name: Arc::clone(&name.1),
            tags: plan.tags(Select::All).unwrap_or_default(),
            op: Op::Peek,
            cost: 0,
            scale: inner.scale(),
            once: None,
            connection: inner.authority.epoch(),
            sent: inner.elapsed(),
            fingerprint: None,
            debt: None,
        };
        let call = Call {
            key: Arc::clone(&asked.name),
            op: asked.op,
            cost: asked.cost,
            scale: asked.scale,
            windows: plan.calls(&asked.tags),
            request_id: None,
        };
        let sent = inner.send(call, asked, |call, asked| {
            if asked.debt.is_none() {
                // Its own call has brought it, or it has drained.
                return Ok(false);
            }
            let limiter = self.clone();
            let done = move |result| limiter.told(&asked, result);
            inner.authority.send(call, Box::new(done)).map(|()| true)
        });
        match sent {
            Ok(true) => false,
            Ok(false) => self.ended(),
            Err((asked, failure)) => {
                inner.missed(&asked, &failure);
                self.ended()
            }
        }
    }

    /// Redis was told what a key owes, or not.
    fn told(&self, asked: &Asked, result: Result<Reply, Failure>) {
        let inner = &self.0;
        let failure = match result {
            Ok(reply) if reply.windows.len() == asked.tags.len() => {
                inner.remember(asked, reply);
                None
            }
            Ok(_) => Some(Failure::Lost),
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            inner.put_back(asked);
            inner.missed(asked, &failure);
        }
        if self.ended() {
            self.settle();
        }
    }

    /// One has ended. Whether it was the last on its way.
    fn ended(&self) -> bool {
        self.0.counters.pending.subtract();
        self.0.settling.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

impl Inner {
    /// It is to be tried again, later.
    fn missed(&self, asked: &Asked, failure: &Failure) {
        // A key that another program holds would only fail again.
        if !matches!(failure, Failure::Foreign(_)) {
            self.fallback.still_owing(asked.key, &asked.name);
        }
        let from = self.elapsed().saturating_add(PAUSE);
        self.settling_from.store(from.0, Ordering::Relaxed);
    }

    fn begin_settling(&self) -> bool {
        let (free, all) = (0, BATCH);
        let begun = self
            .settling
            .compare_exchange(free, all, Ordering::Relaxed, Ordering::Relaxed);
        begun.is_ok()
    }
}
