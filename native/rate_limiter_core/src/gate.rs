//! Bounds how much work runs at once, sheds a share of the calls, and measures how the work went.
//!
//! A limiter bounds how often; a gate bounds how much at a time. An admitted call holds a [`Permit`], and returns its
//! place by reporting how the work ended, or by dropping the permit: so a caller that crashes loses no place.

#[cfg(all(loom, test))]
mod loom_tests;
mod tally;

use std::sync::Arc;

use crate::clock::{monotonic, Clock, Nanos};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::verdict::Usage;

use self::tally::Tally;

pub use self::tally::Work;

/// Counts the cuts of all gates, so that one number of a permit can be compared with the last cut of each of its gates.
static CUTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Parts per million of a gate that is fully open.
const WIDE_OPEN: u32 = 1_000_000;

/// Without a guard, the number in flight is not bounded.
const UNGUARDED: u64 = u64::MAX;

/// How the work of a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded: its duration is a sample.
    Ok,
    /// It failed.
    Error,
    /// It took too long.
    Timeout,
    /// The resource rejected it.
    Rejected,
    /// It ended in a way that says nothing about the resource.
    NoOpinion,
}

/// The answer of a gate to a call.
#[derive(Debug)]
pub enum Entry<P> {
    /// Shed by this node, to protect itself.
    Shed,
    /// Denied, since as many calls as allowed are in flight.
    Full {
        /// How many may be in flight.
        max: u64,
        /// How many were in flight.
        in_flight: u64,
    },
    /// Denied by the limit.
    Denied(Usage),
    /// Admitted.
    Allowed(Usage, P),
}

/// The counters of a gate since it was created, and its present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All calls.
    pub asked: u64,
    /// Calls that the limit denied.
    pub denied: u64,
    /// Calls that were denied since the gate was full.
    pub guarded: u64,
    /// Calls that this node shed.
    pub shed: u64,
    /// Admitted calls that ended without a report.
    pub abandoned: u64,
    /// Calls in flight now.
    pub in_flight: u64,
    /// How many may be in flight; `None` without a bound.
    pub guard: Option<u64>,
    /// The share of calls that is not shed, in parts per million.
    pub open_ppm: u32,
}

/// Admits work within its guard and its opening, and counts how it went. All its state is atomic: a call never waits.
///
/// ```
/// use rate_limiter_core::{Clock, Entry, Gate, Limit, Nanos, Outcome, SingleLimiter};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let mut limiter = SingleLimiter::new(&Limit::token_bucket(10, Duration::from_secs(1)))?;
/// let mut check = || Ok::<_, ()>(limiter.check(Nanos(0), 1));
/// let gate = Arc::new(Gate::new(Clock::default(), None));
/// gate.set_guard(Some(1));
///
/// let Ok(Entry::Allowed(usage, permit)) = gate.enter(&mut check) else { panic!("admitted") };
/// assert_eq!(usage.remaining, 9);
/// assert!(matches!(gate.enter(&mut check), Ok(Entry::Full { max: 1, in_flight: 1 })));
/// permit.finish(Outcome::Ok);
/// assert!(matches!(gate.enter(&mut check), Ok(Entry::Allowed(..))));
/// # Ok::<(), rate_limiter_core::LimitError>(())
/// ```
#[derive(Debug)]
pub struct Gate {
    clock: Clock,
    guard: AtomicU64,
    in_flight: AtomicU64,
    open_ppm: AtomicU32,
    /// The sum of the openings of all calls. The call that carries it over a whole number is not shed.
    credit: AtomicU64,
    /// The number of the last cut: work that began before it belongs to another load.
    cut: AtomicU64,
    /// The gate of which this one is a part: a place here takes a place there, and all is counted there, too.
    whole: Option<Arc<Gate>>,
    /// The highest number in flight in the whole at which this part still admits: the rest is reserved for others.
    room: AtomicU64,
    asked: AtomicU64,
    denied: AtomicU64,
    guarded: AtomicU64,
    shed: AtomicU64,
    abandoned: AtomicU64,
    fresh: Tally,
    earlier: Tally,
}

/// A place in flight. It is returned once: by [`finish`](Self::finish), or when it is dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    since: Nanos,
    /// The number of cuts before it, of all gates.
    cuts: u64,
    finished: AtomicBool,
}

impl Gate {
    /// Returns an open gate without a guard. The guard of a `whole`, if given, bounds it, too.
    #[must_use]
    pub fn new(clock: Clock, whole: Option<Arc<Self>>) -> Self {
        Self {
            clock,
            guard: AtomicU64::new(UNGUARDED),
            in_flight: AtomicU64::new(0),
            open_ppm: AtomicU32::new(WIDE_OPEN),
            credit: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            whole,
            room: AtomicU64::new(UNGUARDED),
            asked: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            guarded: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            fresh: Tally::default(),
            earlier: Tally::default(),
        }
    }

    /// Sets how many may be in flight, at least 1; `None` removes the bound.
    pub fn set_guard(&self, max: Option<u64>) {
        let max = max.unwrap_or(UNGUARDED).max(1);
        self.guard.store(max, Ordering::Relaxed);
    }

    /// Sets the number in flight in the whole up to which this part still admits; `None` removes the bound.
    pub fn set_room(&self, max: Option<u64>) {
        let max = max.unwrap_or(UNGUARDED).max(1);
        self.room.store(max, Ordering::Relaxed);
    }

    /// Sets the share of calls that is not shed, in parts per million.
    pub fn set_open(&self, ppm: u32) {
        self.open_ppm.store(ppm.min(WIDE_OPEN), Ordering::Relaxed);
    }

    /// Ends the present load: work that has begun counts as [`Work`] of an earlier load from now on.
    pub fn cut(&self) {
        let cut = CUTS.fetch_add(1, Ordering::Relaxed) + 1;
        self.cut.store(cut, Ordering::Relaxed);
        self.fresh.drain_into(&self.earlier);
    }

    /// Checks a call that does not report its end. `limit` decides.
    pub fn check<E>(&self, limit: impl FnOnce() -> Result<Usage, E>) -> Result<Entry<()>, E> {
        self.each(|gate| count(&gate.asked));
        if self.sheds() {
            return Ok(Entry::Shed);
        }
        let usage = limit()?;
        Ok(self.judged(usage, ()))
    }

    /// Checks a call that takes a place. `limit` decides, and is not called if no place is free.
    pub fn enter<E>(
        self: &Arc<Self>,
        limit: impl FnOnce() -> Result<Usage, E>,
    ) -> Result<Entry<Permit>, E> {
        self.each(|gate| count(&gate.asked));
        if self.sheds() {
            return Ok(Entry::Shed);
        }
        if let Err((max, in_flight)) = self.take() {
            count(&self.guarded);
            return Ok(Entry::Full { max, in_flight });
        }
        let permit = self.permit();
        let usage = limit().inspect_err(|_| permit.finish_uncounted())?;
        if !usage.allowed() {
            permit.finish_uncounted();
        }
        Ok(self.judged(usage, permit))
    }

    /// Takes a place regardless of guard and opening.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Permit {
        self.each(|gate| {
            count(&gate.asked);
            gate.in_flight.fetch_add(1, Ordering::Relaxed);
        });
        self.permit()
    }

    /// Counts work that was measured elsewhere, as if it began now.
    pub fn record(&self, outcome: Outcome, duration: Nanos) {
        self.each(|gate| gate.fresh.record(outcome, duration));
    }

    /// Takes out how the work went that ended since the last call: of work that began after the last cut, and before
    /// it.
    #[must_use]
    pub fn drain(&self) -> (Work, Work) {
        (self.fresh.drain(), self.earlier.drain())
    }

    /// Returns the counters and the present state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let guard = self.guard.load(Ordering::Relaxed);
        Counts {
            asked: self.asked.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            guarded: self.guarded.load(Ordering::Relaxed),
            shed: self.shed.load(Ordering::Relaxed),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            guard: (guard != UNGUARDED).then_some(guard),
            open_ppm: self.open_ppm.load(Ordering::Relaxed),
        }
    }

    fn judged<P>(&self, usage: Usage, place: P) -> Entry<P> {
        if usage.allowed() {
            Entry::Allowed(usage, place)
        } else {
            self.each(|gate| count(&gate.denied));
            Entry::Denied(usage)
        }
    }

    /// Returns whether this call is shed. Of any thousand calls in a row the share is exact, to one call, which a
    /// random choice is not.
    fn sheds(&self) -> bool {
        let ppm = self.open_ppm.load(Ordering::Relaxed);
        if ppm == WIDE_OPEN {
            return false;
        }
        let before = self.credit.fetch_add(u64::from(ppm), Ordering::Relaxed);
        let whole = u64::from(WIDE_OPEN);
        let sheds = before.wrapping_add(u64::from(ppm)) / whole == before / whole;
        if sheds {
            count(&self.shed);
        }
        sheds
    }

    /// Takes a place here and in every gate that this one is a part of, or in none.
    fn take(&self) -> Result<(), (u64, u64)> {
        self.take_below(self.guard.load(Ordering::Relaxed))?;
        let Some(whole) = &self.whole else {
            return Ok(());
        };
        whole
            .take_as_part(self.room.load(Ordering::Relaxed))
            .inspect_err(|_| self.leave())
    }

    /// Takes a place for a part that may enter while fewer than `room` are in flight. The call counts as denied if the
    /// places that are left are reserved for others, and as guarded if no place is left.
    fn take_as_part(&self, room: u64) -> Result<(), (u64, u64)> {
        let guard = self.guard.load(Ordering::Relaxed);
        self.take_below(guard.min(room))
            .inspect_err(|(_, in_flight)| {
                if *in_flight >= guard {
                    count(&self.guarded);
                } else {
                    count(&self.denied);
                }
            })?;
        let Some(whole) = &self.whole else {
            return Ok(());
        };
        whole
            .take_as_part(self.room.load(Ordering::Relaxed))
            .inspect_err(|_| self.leave())
    }

    fn take_below(&self, max: u64) -> Result<(), (u64, u64)> {
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |in_flight| {
                (in_flight < max).then_some(in_flight + 1)
            })
            .map(|_| ())
            .map_err(|in_flight| (max, in_flight))
    }

    fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Visits this gate, and every gate that it is a part of.
    fn each(&self, visit: impl Fn(&Self)) {
        let mut next = Some(self);
        while let Some(gate) = next {
            visit(gate);
            next = gate.whole.as_deref();
        }
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit {
            gate: Arc::clone(self),
            since: self.clock.read(monotonic()),
            cuts: CUTS.load(Ordering::Relaxed),
            finished: AtomicBool::new(false),
        }
    }
}

impl Permit {
    /// Returns the place, once, and counts how the work went. Returns whether this call was the first to do so.
    pub fn finish(&self, outcome: Outcome) -> bool {
        let first = self.return_place();
        if first {
            let now = self.gate.clock.read(monotonic());
            let duration = now.saturating_sub(self.since);
            self.gate.each(|gate| {
                let fresh = self.cuts >= gate.cut.load(Ordering::Relaxed);
                let tally = if fresh { &gate.fresh } else { &gate.earlier };
                tally.record(outcome, duration);
            });
        }
        first
    }

    fn finish_uncounted(&self) {
        self.return_place();
    }

    fn return_place(&self) -> bool {
        let first = !self.finished.swap(true, Ordering::Relaxed);
        if first {
            self.gate.each(Gate::leave);
        }
        first
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.return_place() {
            self.gate.each(|gate| count(&gate.abandoned));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
