//! The keys that may have a backlog, so that those that are no longer asked about are reported, too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;

use parking_lot::Mutex;
use rate_limiter_core::Key;

/// A key's hash in this node, and its key for the authority.
pub(crate) type Name = (Key, Arc<[u8]>);

/// A bounded queue that any thread can add to without waiting, and one thread at a time removes from.
#[derive(Debug)]
pub(super) struct Backlog {
    sender: Sender<Name>,
    receiver: Mutex<Receiver<Name>>,
    len: AtomicU64,
    max: u64,
}

impl Backlog {
    pub(super) fn new(max: u64) -> Self {
        let (sender, receiver) = channel();
        Self {
            sender,
            receiver: Mutex::new(receiver),
            len: AtomicU64::new(0),
            max,
        }
    }

    /// Adds a key if there is room. One that is left out is reported when it is next asked about.
    pub(super) fn put(&self, key: Key, name: &Arc<[u8]>) {
        if self.len.fetch_add(1, Ordering::Relaxed) < self.max {
            // Cannot fail: the receiver lives as long as the sender.
            let _ = self.sender.send((key, Arc::clone(name)));
        } else {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Removes up to `most` keys, the oldest first; none while another thread does.
    pub(super) fn take(&self, most: usize) -> Vec<Name> {
        if self.len() == 0 {
            return Vec::new();
        }
        let receiver = self.receiver.try_lock();
        let taken: Vec<Name> = receiver
            .map(|receiver| receiver.try_iter().take(most).collect())
            .unwrap_or_default();
        self.len.fetch_sub(taken.len() as u64, Ordering::Relaxed);
        taken
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }
}
