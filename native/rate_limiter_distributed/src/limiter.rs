//! A limiter whose counts all nodes share: asks Redis, and knows what to answer while that is away.

mod reconcile;
mod request;
mod response;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rate_limiter_core::{CallError, Limit, Nanos, Scale, Seed, Tag, UpdateError};

use crate::authority::{Authority, Done, Failure};
use crate::call::Call;
use crate::denials::Denials;
use crate::fallback::Fallback;
use crate::last_known::LastKnown;
use crate::members::Members;
use crate::meter::MeterError;
use crate::options::{OnOutage, SharedOptions};
use crate::plan::Plan;
use crate::request::{Request, Response};
use crate::server_clock::ServerClock;
use crate::stats::{Counters, SharedStats};

use request::{Asked, Prepared};

/// Decides as one with all other nodes; and when Redis is away by itself, within its share.
///
/// Exact while one server answers: what it says is what is answered. What faults let through beyond the limits, each
/// time, with `on_outage: Share`:
///
/// - Redis away from all nodes: of each node, what others used of a key since it last heard of it, at most its share of
///   the limit. Nothing of one node alone, or of a key that each node has heard of last.
/// - A node cut off while others go on: its share, which fills again at its share of the rate, for as long as that
///   lasts. It is charged when the node is back.
/// - A lost answer, or one that comes too late: the cost of that call, charged with the next.
/// - Data lost by Redis: what was used of a key since the node that asks first heard of it, at most the limit once;
///   and all of it for keys that no node remembers any more (`remember` of them each).
/// - A node that starts while Redis is away goes by its own time until it hears Redis's, and what it let through
///   until then is charged as of that time: of a clock that is behind by more than a window is long, not at all, at
///   most its share once; of one that is ahead, a bucket's debt as much later.
/// - More keys in an outage than `remember`: those beyond are judged together, and not charged.
///
/// The other way, a charge that is lost on its way back counts twice, up to a full bucket or for as long as a window
/// lasts.
///
/// It never answers a call twice, and never too late because of what others owe: that is brought to Redis with the
/// key's own call, or in the background a few keys at a time.
#[derive(Clone)]
pub struct SharedLimiter(Arc<Inner>);

struct Inner {
    plan: ArcSwap<Plan>,
    /// Held while the plan changes. No call comes here.
    changing: Mutex<()>,
    scale: AtomicU32,
    on_outage: OnOutage,
    members: Arc<Members>,
    authority: Arc<dyn Authority>,
    clock: ServerClock,
    last_known: LastKnown,
    fallback: Fallback,
    denials: Option<Denials>,
    /// Whether answers come from this node.
    away: AtomicBool,
    /// Calls on their way in the background, and until when no more are made since one has failed.
    settling: AtomicUsize,
    settling_from: AtomicU64,
    /// What names of calls are hashed under.
    seed: Seed,
    counters: Counters,
}

/// Why a limit could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedUpdateError {
    /// There is no such window.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The new limit cannot be kept in Redis.
    #[error(transparent)]
    Limit(#[from] MeterError),
    /// The new limit cannot be kept in this node.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

impl SharedLimiter {
    /// A limiter of these windows, each with its tag and its name in Redis.
    pub fn new(
        windows: &[(Tag, &str, Limit)],
        options: SharedOptions,
        authority: Arc<dyn Authority>,
    ) -> Result<Self, MeterError> {
        let SharedOptions {
            clock,
            on_outage,
            members,
            cache_denials,
            remember,
        } = options;
        let plan = Plan::new(windows)?;
        let clock = ServerClock::new(clock);
        let share = members.share();
        Ok(Self(Arc::new(Inner {
            scale: AtomicU32::new(Scale::ONE.ppm()),
            on_outage,
            members,
            authority,
            last_known: LastKnown::new(&plan.limits(), &clock, remember)?,
            fallback: Fallback::new(plan.limits(), share, &clock, remember)?,
            denials: cache_denials.then(Denials::default),
            plan: ArcSwap::from_pointee(plan),
            changing: Mutex::new(()),
            clock,
            away: AtomicBool::new(false),
            settling: AtomicUsize::new(0),
            settling_from: AtomicU64::new(0),
            seed: Seed::random(),
            counters: Counters::default(),
        })))
    }

    /// Asks. What is known at once is returned, and `done` is dropped uncalled; otherwise `done` is told once, from
    /// another thread. Never blocks.
    ///
    /// # Errors
    ///
    /// When it names a window that the limiter does not have.
    pub fn submit<D>(&self, ask: Request<'_>, done: D) -> Result<Option<Response>, CallError>
    where
        D: FnOnce(Response) + Send + 'static,
    {
        let (call, asked) = match self.0.prepare(ask)? {
            Prepared::Known(outcome) => return Ok(Some(outcome)),
            Prepared::Send(call, asked) => (call, asked),
        };
        let sent = self.0.send(call, asked, |call, asked| {
            let (call, done) = self.hand_over(call, asked, done);
            self.0.authority.send(call, done)
        });
        Ok(match sent {
            Ok(()) => None,
            Err((asked, failure)) => Some(self.0.handed_back(&asked, &failure)),
        })
    }

    /// Asks about many ids in one round trip. One place in the result for each question, as `ask` would answer it.
    ///
    /// # Errors
    ///
    /// When one of them names a window that the limiter does not have: then none is asked.
    pub fn submit_batch<D>(
        &self,
        asks: Vec<(Request<'_>, D)>,
    ) -> Result<Vec<Option<Response>>, CallError>
    where
        D: FnOnce(Response) + Send + 'static,
    {
        let plan = self.0.plan.load();
        for (ask, _) in &asks {
            plan.tags(ask.select)?;
        }
        let mut outcomes = Vec::with_capacity(asks.len());
        let mut calls = Vec::with_capacity(asks.len());
        let mut sent = Vec::with_capacity(asks.len());
        for (place, (ask, done)) in asks.into_iter().enumerate() {
            outcomes.push(match self.0.prepare(ask)? {
                Prepared::Known(outcome) => Some(outcome),
                Prepared::Send(call, asked) => {
                    let placed = self.0.send(call, asked, |call, asked| {
                        // A call is known again by where its windows lie: nothing else of it is sure to be its own.
                        let windows = call.windows.as_ptr().addr();
                        let owes = asked.debt.is_some();
                        let (call, done) = self.hand_over(call, Arc::clone(&asked), done);
                        if owes {
                            // Goes ahead: what a key owes is on its way before anybody asks about it again.
                            return self.0.authority.send(call, done);
                        }
                        sent.push((windows, place, asked));
                        calls.push((call, done));
                        Ok(())
                    });
                    let back = placed.err();
                    back.map(|(asked, failure)| self.0.handed_back(&asked, &failure))
                }
            });
        }
        for unsent in self.0.authority.send_batch(calls) {
            let windows = unsent.call.windows.as_ptr().addr();
            let found = sent.iter().find(|(address, ..)| *address == windows);
            if let Some((_, place, asked)) = found {
                outcomes[*place] = Some(self.0.handed_back(asked, &unsent.failure));
            }
        }
        Ok(outcomes)
    }

    /// What this node answers alone: for who asked, and waits no longer. Redis may count what it was asked all the same.
    ///
    /// # Errors
    ///
    /// When it names a window that the limiter does not have.
    pub fn decide_locally(&self, ask: Request<'_>) -> Result<Response, CallError> {
        Ok(match self.0.prepare(ask)? {
            Prepared::Known(outcome) => outcome,
            Prepared::Send(_call, asked) => self.0.unanswered(&asked, &Failure::Lost),
        })
    }

    /// Gives one window another limit, in this node. What was used stays used.
    ///
    /// Each node learns of it at its own moment. In between each judges by the limit that it knows, on the same state:
    /// never is more let through than the larger one allows.
    pub fn update_limit(&self, tag: Tag, limit: &Limit) -> Result<(), SharedUpdateError> {
        let _changing = self.0.changing.lock();
        let plan = self.0.plan.load().with_limit(tag, limit)?;
        self.0.last_known.update_limit(tag, limit)?;
        self.0.fallback.update_limit(tag, limit)?;
        self.0.plan.store(Arc::new(plan));
        Ok(())
    }

    /// Puts a factor on all limits.
    pub fn set_scale(&self, scale: Scale) {
        self.0.scale.store(scale.ppm(), Ordering::Relaxed);
        self.0.last_known.set_scale(scale);
        self.0.fallback.set_scale(scale);
    }

    /// The factor now.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.0.scale()
    }

    /// Each window's tag, its limit, and the most that it admits at once at the present scale.
    #[must_use]
    pub fn limits(&self) -> Vec<(Tag, Limit, u64)> {
        self.0.last_known.limits()
    }

    /// Forgets what is idle, looking at about `max_slots` places, and has Redis told of what keys owe that nobody asks
    /// about. To be called now and then. Returns how many keys it forgot.
    #[allow(clippy::must_use_candidate)] // who calls it wants it done, not counted
    pub fn sweep(&self, max_slots: usize) -> usize {
        self.0.clock.tick();
        self.settle();
        self.0.last_known.sweep(max_slots) + self.0.fallback.sweep(max_slots)
    }

    /// Counts and sizes.
    #[must_use]
    pub fn stats(&self) -> SharedStats {
        let Inner {
            counters,
            last_known,
            fallback,
            ..
        } = &*self.0;
        let (remembered, counted) = (last_known.stats(), fallback.stats());
        let denials = self.0.denials.as_ref().map_or(0, Denials::bytes) as u64;
        SharedStats {
            checks: counters.checks.get(),
            denials: counters.denials.get(),
            cached_denials: counters.cached_denials.get(),
            fallbacks: counters.fallbacks.get(),
            unavailable: counters.unavailable.get(),
            pending: counters.pending.get(),
            remembered: remembered.keys,
            owing: fallback.names(),
            bytes: remembered.bytes + counted.bytes + denials,
            away: self.0.away.load(Ordering::Relaxed),
        }
    }

    /// The call with what is told of its end.
    fn hand_over<D>(&self, call: Call, asked: Arc<Asked>, done: D) -> (Call, Done)
    where
        D: FnOnce(Response) + Send + 'static,
    {
        let limiter = self.clone();
        let done = move |result| {
            let answered = Result::is_ok(&result);
            done(limiter.0.finish(&asked, result));
            if answered {
                limiter.settle();
            }
        };
        (call, Box::new(done))
    }
}

impl Inner {
    fn scale(&self) -> Scale {
        Scale::from_ppm(self.scale.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Nanos {
        self.clock.elapsed()
    }
}

impl std::fmt::Debug for SharedLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedLimiter")
            .field("plan", &self.0.plan)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
