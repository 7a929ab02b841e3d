//! The client: accepts calls on any thread, and answers each exactly once.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rate_limiter_distributed::{Authority, BreakerState, Call, Done, Failure, Unsent};

use crate::batch::{Decided, KeyCalls};
use crate::driver::{Driver, Message};
use crate::pending::Pending;
use crate::status::{Live, Status};

/// How a client works.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a call waits for the store.
    pub timeout: Duration,
    /// How many workers there are.
    pub workers: usize,
    /// The most calls that wait.
    pub max_queue: usize,
    /// What the key of the probe begins with, as all keys do.
    pub prefix: Box<str>,
}

/// The processes that call the store.
pub trait Workers: Send + Sync {
    /// Hands calls to a worker that has nothing to do. It returns their decisions by [`Client::finish`] and this number.
    /// Returns whether the worker exists. Must not block.
    fn start(&self, worker: usize, number: u64, keys: &[Arc<KeyCalls>]) -> bool;

    /// Reports that the breaker has changed.
    fn breaker(&self, from: BreakerState, to: BreakerState, reason: &str);
}

/// Carries calls to the workers of a store.
///
/// Calls about one key go to the same worker, which has one batch at a time. Calls that arrive meanwhile wait, and go
/// together as the next one.
pub struct Client {
    inbox: Sender<Message>,
    live: Arc<Live>,
    timeout: Duration,
    workers: usize,
    hasher: RandomState,
}

/// Why a client could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the thread of the store could not be started: {0}")]
pub struct StartError(#[from] std::io::Error);

impl Client {
    /// Starts a client, with a thread that ends with it. Calls wait until workers join.
    pub fn start(config: Config, workers: Arc<dyn Workers>) -> Result<Arc<Self>, StartError> {
        let (inbox, messages) = channel();
        let live = Arc::new(Live::new(config.max_queue));
        let client = Self {
            inbox,
            live: Arc::clone(&live),
            timeout: config.timeout,
            workers: config.workers.max(1),
            hasher: RandomState::new(),
        };
        let driver = Driver::new(config, workers, live, client.inbox.clone());
        let thread = thread::Builder::new().name("rate_limiter_store".into());
        thread.spawn(move || driver.run(&messages))?;
        Ok(Arc::new(client))
    }

    /// Registers a worker that has nothing to do: a new one, in place of an earlier one of this number, whose batch is
    /// lost.
    pub fn join(&self, worker: usize) {
        self.tell(Message::Joined(worker));
    }

    /// Returns the decisions about a batch, one for each key, or for each key why there is none.
    pub fn finish(&self, worker: usize, number: u64, results: Vec<Result<Decided, Failed>>) {
        self.tell(Message::Finished(worker, number, results));
    }

    /// Returns the state of the store, and what was done since the start.
    #[must_use]
    pub fn status(&self) -> Status {
        self.live.status()
    }

    /// Answers all calls, and ends the thread.
    pub fn stop(&self) {
        self.tell(Message::Stop);
    }

    /// After a stop there is no one to tell.
    fn tell(&self, message: Message) {
        let _stopped = self.inbox.send(message);
    }

    fn accept(&self, call: Call, done: Done) -> Result<(usize, Pending), Unsent> {
        let refused = if self.live.breaker() != BreakerState::Closed {
            Some(Failure::Away)
        } else if !self.live.try_enqueue() {
            Some(Failure::Full)
        } else {
            None
        };
        if let Some(failure) = refused {
            self.live.unsent.fetch_add(1, Ordering::Relaxed);
            return Err(Unsent {
                call,
                done,
                failure,
            });
        }
        #[allow(clippy::cast_possible_truncation)] // any bits of a hash
        let worker = self.hasher.hash_one(&call.key) as usize % self.workers;
        Ok((
            worker,
            Pending::new(call, done, Instant::now() + self.timeout),
        ))
    }

    fn submit(&self, calls: Vec<(usize, Pending)>) -> Vec<Unsent> {
        match self.inbox.send(Message::Calls(calls)) {
            Ok(()) => Vec::new(),
            Err(stopped) => {
                let Message::Calls(calls) = stopped.0 else {
                    return Vec::new();
                };
                self.live.dequeue(calls.len());
                let unsent = calls.into_iter().map(|(_, pending)| pending);
                unsent.filter_map(Pending::into_unsent).collect()
            }
        }
    }
}

/// Why a store has not decided the calls of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Whether it is certain that nothing was stored.
    pub is_certain: bool,
    /// The reason in words.
    pub reason: Box<str>,
}

impl Authority for Client {
    fn send(&self, call: Call, done: Done) -> Result<(), Unsent> {
        let accepted = self.accept(call, done)?;
        self.submit(vec![accepted]).pop().map_or(Ok(()), Err)
    }

    fn send_batch(&self, calls: Vec<(Call, Done)>) -> Vec<Unsent> {
        let (mut accepted, mut unsent) = (Vec::with_capacity(calls.len()), Vec::new());
        for (call, done) in calls {
            match self.accept(call, done) {
                Ok(pending) => accepted.push(pending),
                Err(refused) => unsent.push(refused),
            }
        }
        unsent.extend(self.submit(accepted));
        unsent
    }

    /// Grows with each failure: a store that fails may have lost what it had.
    fn epoch(&self) -> u64 {
        self.live.epoch.load(Ordering::Relaxed)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
