//! What happens between here and Redis, told to a process.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use rate_limiter_redis::{
    BatchEvent, BreakerEvent, Change, ConnectionEvent, EvictionEvent, Observer,
};
use rustler::{thread, Atom, Encoder, Env, LocalPid, OwnedEnv, Term};

use super::status::breaker;
use crate::atoms;
use crate::spin::spin;

/// Ends of batches that may lie unheard: telling more would only fill a mailbox.
const MAX_UNHEARD: u32 = 256;

/// Other events that are kept for a process that is yet to listen.
const MAX_KEPT: usize = 64;

#[derive(Default)]
pub(super) struct Watcher {
    ear: Mutex<Ear>,
    listens: AtomicBool,
    unheard: AtomicU32,
    missed: AtomicU64,
}

/// Who listens; until somebody does, what there was to be heard.
enum Ear {
    Nobody(Vec<Event>),
    Process(LocalPid),
}

/// What seldom happens.
pub(super) enum Event {
    Breaker {
        server: String,
        from: Atom,
        to: Atom,
        reason: String,
    },
    Connection {
        server: String,
        change: Atom,
        reason: Option<String>,
    },
    Eviction {
        server: String,
        policy: String,
        maxmemory: u64,
    },
}

impl Default for Ear {
    fn default() -> Self {
        Self::Nobody(Vec::new())
    }
}

impl Watcher {
    /// Tells this process from now on; hands over what was to be told when there was none. Batches that an earlier one
    /// did not hear of count as heard.
    pub(super) fn tell_to(&self, pid: LocalPid) -> Vec<Event> {
        self.unheard.store(0, Ordering::Relaxed);
        match mem::replace(&mut *spin(|| self.ear.try_lock()), Ear::Process(pid)) {
            Ear::Nobody(kept) => kept,
            Ear::Process(_) => Vec::new(),
        }
    }

    pub(super) fn listen(&self, listen: bool) {
        self.listens.store(listen, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) {
        let less = |unheard: u32| unheard.checked_sub(1);
        let order = Ordering::Relaxed;
        // Nothing is unheard: it was an earlier watcher's.
        let _none = self.unheard.fetch_update(order, order, less);
    }

    /// Tells it, or keeps it.
    fn tell(&self, event: Event) {
        let mut ear = spin(|| self.ear.try_lock());
        if let Ear::Process(pid) = *ear {
            if send(pid, |env| event.encode(env)) {
                return;
            }
            // That process has ended, and another one is about to take its place.
            *ear = Ear::default();
        }
        if let Ear::Nobody(kept) = &mut *ear {
            if kept.len() < MAX_KEPT {
                kept.push(event);
            }
        }
    }
}

impl Observer for Watcher {
    fn breaker(&self, event: &BreakerEvent<'_>) {
        self.tell(Event::Breaker {
            server: event.server.to_owned(),
            from: breaker(event.from),
            to: breaker(event.to),
            reason: event.reason.to_owned(),
        });
    }

    fn connection(&self, event: &ConnectionEvent<'_>) {
        let (change, reason) = match event.change {
            Change::Up => (atoms::up(), None),
            Change::Down(reason) => (atoms::down(), Some(reason)),
            Change::Refused(reason) => (atoms::refused(), Some(reason)),
            Change::Failed(reason) => (atoms::failed(), Some(reason)),
            _ => return,
        };
        self.tell(Event::Connection {
            server: event.server.to_owned(),
            change,
            reason: reason.map(str::to_owned),
        });
    }

    fn eviction(&self, event: &EvictionEvent<'_>) {
        self.tell(Event::Eviction {
            server: event.server.to_owned(),
            policy: event.policy.to_owned(),
            maxmemory: event.maxmemory,
        });
    }

    fn batch(&self, event: &BatchEvent<'_>) {
        if !self.listens.load(Ordering::Relaxed) {
            return;
        }
        let pid = match *spin(|| self.ear.try_lock()) {
            Ear::Process(pid) if self.unheard.load(Ordering::Relaxed) < MAX_UNHEARD => pid,
            _ => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        self.unheard.fetch_add(1, Ordering::Relaxed);
        let missed = self.missed.swap(0, Ordering::Relaxed);
        let duration_us = u64::try_from(event.duration.as_micros()).unwrap_or(u64::MAX);
        let (server, calls, failure) = (event.server, event.calls, event.failure);
        let batch = atoms::batch();
        send(pid, |env| {
            (batch, server, calls, duration_us, failure, missed).encode(env)
        });
    }
}

impl Encoder for Event {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Breaker {
                server,
                from,
                to,
                reason,
            } => (atoms::breaker(), server, *from, *to, reason).encode(env),
            Self::Connection {
                server,
                change,
                reason,
            } => (atoms::connection(), server, *change, reason).encode(env),
            Self::Eviction {
                server,
                policy,
                maxmemory,
            } => (atoms::eviction(), server, policy, *maxmemory).encode(env),
        }
    }
}

/// Whether it was sent. The emulator lets only threads that are not its own send without a process.
fn send(pid: LocalPid, event: impl for<'e> FnOnce(Env<'e>) -> Term<'e>) -> bool {
    let tell = |env| (atoms::redis_event(), event(env));
    !thread::is_scheduler_thread() && OwnedEnv::new().send_and_clear(&pid, tell).is_ok()
}
