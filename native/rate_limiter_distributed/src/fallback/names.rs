//! The names of keys that may owe, so that Redis can be told of those that nobody asks about any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;

use parking_lot::Mutex;
use rate_limiter_core::Key;

/// A key, and its name in Redis.
pub(crate) type Name = (Key, Arc<[u8]>);

/// A bounded queue. Whoever puts in a name waits for nobody; of those who take names out, one at a time does.
#[derive(Debug)]
pub(crate) struct Names {
    into: Sender<Name>,
    out: Mutex<Receiver<Name>>,
    waiting: AtomicU64,
    max: u64,
}

impl Names {
    pub(crate) fn new(max: u64) -> Self {
        let (into, out) = channel();
        Self {
            into,
            out: Mutex::new(out),
            waiting: AtomicU64::new(0),
            max,
        }
    }

    /// Puts in a name, if there is room. One that is left out is told of when its key is next asked about.
    pub(crate) fn put(&self, key: Key, name: &Arc<[u8]>) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.max {
            // Who takes names out lives as long as this.
            let _ = self.into.send((key, Arc::clone(name)));
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes out up to `most` names, the first that were put in; none where somebody else is at it.
    pub(crate) fn take(&self, most: usize) -> Vec<Name> {
        if self.waiting() == 0 {
            return Vec::new();
        }
        let taken: Vec<Name> = self
            .out
            .try_lock()
            .map(|out| out.try_iter().take(most).collect())
            .unwrap_or_default();
        self.waiting
            .fetch_sub(taken.len() as u64, Ordering::Relaxed);
        taken
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}
