//! Events of a Redis store, sent to a process as `{:redis_event, event}`.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use rate_limiter_redis::{
    BatchEvent, BreakerEvent, Change, ConnectionEvent, EvictionEvent, Observer,
};
use rustler::{thread, Encoder, LocalPid, NifTaggedEnum, NifUnitEnum, OwnedEnv};

use super::status::BreakerTerm;
use crate::atoms;
use crate::spin::spin;

/// Batch events that the subscriber may have in its mailbox. Further ones are only counted.
const MAX_UNHANDLED: u32 = 256;

/// Other events that are kept while there is no subscriber.
const MAX_KEPT: usize = 64;

#[derive(Default)]
pub(super) struct Events {
    subscriber: Mutex<Subscriber>,
    batches: AtomicBool,
    unhandled: AtomicU32,
    missed: AtomicU64,
}

enum Subscriber {
    /// No process yet, and the events since the start.
    None(Vec<Event>),
    Process(LocalPid),
}

#[derive(NifTaggedEnum)]
#[rustler(encode)]
pub(super) enum Event {
    /// `{:breaker, server, from, to, reason}`
    Breaker(String, BreakerTerm, BreakerTerm, String),
    /// `{:connection, server, change, reason}`
    Connection(String, ChangeTerm, Option<String>),
    /// `{:eviction, server, policy, maxmemory}`
    Eviction(String, String, u64),
    /// `{:heartbeat, refusal}`
    Heartbeat(Option<String>),
    /// `{:batch, server, calls, duration_us, failure, missed}`
    Batch(String, usize, u64, Option<String>, u64),
}

#[derive(Clone, Copy, NifUnitEnum)]
pub(super) enum ChangeTerm {
    Up,
    Down,
    Failed,
    Refused,
}

impl Default for Subscriber {
    fn default() -> Self {
        Self::None(Vec::new())
    }
}

impl Events {
    /// Sends events to this process from now on. Returns those that were kept. Batch events that an earlier subscriber
    /// has not handled count as handled.
    pub(super) fn subscribe(&self, pid: LocalPid) -> Vec<Event> {
        self.unhandled.store(0, Ordering::Relaxed);
        let mut subscriber = spin(|| self.subscriber.try_lock());
        match mem::replace(&mut *subscriber, Subscriber::Process(pid)) {
            Subscriber::None(kept) => kept,
            Subscriber::Process(_) => Vec::new(),
        }
    }

    pub(super) fn report_batches(&self, report: bool) {
        self.batches.store(report, Ordering::Relaxed);
    }

    /// Makes room for another batch event.
    pub(super) fn handled(&self) {
        let less = |unhandled: u32| unhandled.checked_sub(1);
        let order = Ordering::Relaxed;
        // At 0 the event belonged to an earlier subscriber.
        let _zero = self.unhandled.fetch_update(order, order, less);
    }

    fn report(&self, event: Event) {
        let mut subscriber = spin(|| self.subscriber.try_lock());
        if let Subscriber::Process(pid) = *subscriber {
            if send(pid, &event) {
                return;
            }
            // The process has ended. Keep the event for the one that replaces it.
            *subscriber = Subscriber::default();
        }
        if let Subscriber::None(kept) = &mut *subscriber {
            if kept.len() < MAX_KEPT {
                kept.push(event);
            }
        }
    }
}

impl Observer for Events {
    fn breaker(&self, event: &BreakerEvent<'_>) {
        let (server, reason) = (event.server.to_owned(), event.reason.to_owned());
        let (from, to) = (event.from.into(), event.to.into());
        self.report(Event::Breaker(server, from, to, reason));
    }

    fn connection(&self, event: &ConnectionEvent<'_>) {
        let (change, reason) = match event.change {
            Change::Up => (ChangeTerm::Up, None),
            Change::Down(reason) => (ChangeTerm::Down, Some(reason)),
            Change::Refused(reason) => (ChangeTerm::Refused, Some(reason)),
            Change::Failed(reason) => (ChangeTerm::Failed, Some(reason)),
            _ => return,
        };
        let (server, reason) = (event.server.to_owned(), reason.map(str::to_owned));
        self.report(Event::Connection(server, change, reason));
    }

    fn eviction(&self, event: &EvictionEvent<'_>) {
        let (server, policy) = (event.server.to_owned(), event.policy.to_owned());
        self.report(Event::Eviction(server, policy, event.maxmemory));
    }

    fn heartbeat(&self, problem: Option<&str>) {
        self.report(Event::Heartbeat(problem.map(str::to_owned)));
    }

    fn batch(&self, event: &BatchEvent<'_>) {
        if !self.batches.load(Ordering::Relaxed) {
            return;
        }
        let pid = match *spin(|| self.subscriber.try_lock()) {
            Subscriber::Process(pid) if self.unhandled.load(Ordering::Relaxed) < MAX_UNHANDLED => {
                pid
            }
            _ => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        self.unhandled.fetch_add(1, Ordering::Relaxed);
        let missed = self.missed.swap(0, Ordering::Relaxed);
        let duration_us = u64::try_from(event.duration.as_micros()).unwrap_or(u64::MAX);
        let (server, failure) = (event.server.to_owned(), event.failure.map(str::to_owned));
        let event = Event::Batch(server, event.calls, duration_us, failure, missed);
        send(pid, &event);
    }
}

/// Returns whether the event was sent. On a scheduler thread the runtime requires a calling process, which is unknown here.
fn send(pid: LocalPid, event: &Event) -> bool {
    let message = |env| (atoms::redis_event(), event.encode(env));
    !thread::is_scheduler_thread() && OwnedEnv::new().send_and_clear(&pid, message).is_ok()
}
