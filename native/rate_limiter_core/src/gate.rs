//! Before work: how many may be at it at once, what share of a node's own intake goes on, and how the work went.
//!
//! A limiter judges how often; a gate judges how much at a time. Whoever is let in holds a [`Permit`], and gives its place
//! back by saying how the work ended, or by dropping it: no place is lost with a caller that ends otherwise.

#[cfg(all(loom, test))]
mod loom_tests;
mod tally;

use std::sync::Arc;

use crate::clock::{monotonic, Clock, Nanos};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::verdict::Usage;

use self::tally::Tally;

pub use self::tally::Work;

/// Cuts of all gates, so that one number tells of each gate whether work began before its last one.
static CUTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Parts per million of a gate that is fully open.
const WIDE_OPEN: u32 = 1_000_000;

/// No guard: as many at once as there are.
const UNGUARDED: u64 = u64::MAX;

/// How a call's work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded: its duration is a sample.
    Ok,
    /// It failed.
    Error,
    /// It took too long.
    Timeout,
    /// What it asked turned it away.
    Rejected,
    /// Nothing that says how the resource is.
    NoOpinion,
}

/// What became of a call at the gate.
#[derive(Debug)]
pub enum Entry<P> {
    /// Turned away by this node, for its own sake.
    Shed,
    /// Turned away since as many as may are at work.
    Full {
        /// How many may be at work at once.
        max: u64,
        /// How many were.
        in_flight: u64,
    },
    /// Turned away by the limit.
    Denied(Usage),
    /// Let in.
    Allowed(Usage, P),
}

/// What happened at a gate since it was made, and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that asked to be let in.
    pub asked: u64,
    /// Of these, denied by the limit.
    pub denied: u64,
    /// Of these, turned away since the gate was full.
    pub guarded: u64,
    /// Of these, turned away by this node.
    pub shed: u64,
    /// Of those let in, the ones that ended without a word.
    pub abandoned: u64,
    /// At work now.
    pub in_flight: u64,
    /// How many may be at work at once; none where all may.
    pub guard: Option<u64>,
    /// The share that goes on, in parts per million.
    pub open_ppm: u32,
}

/// Lets work in, as far as its guard and its opening allow, and counts how it went. Everything is an atomic: a call asks
/// no one and waits for no one.
#[derive(Debug)]
pub struct Gate {
    clock: Clock,
    guard: AtomicU64,
    in_flight: AtomicU64,
    open_ppm: AtomicU32,
    /// What the openings of all calls add up to; whoever carries it over a whole is let in.
    credit: AtomicU64,
    /// The number of the last cut: work that began before it tells of another load.
    cut: AtomicU64,
    /// The gate of what this one is a part of: a place here is a place there, and so is what is counted.
    whole: Option<Arc<Gate>>,
    /// Up to how many at work in the whole one may still come in here: the rest is kept for others.
    room: AtomicU64,
    asked: AtomicU64,
    denied: AtomicU64,
    guarded: AtomicU64,
    shed: AtomicU64,
    abandoned: AtomicU64,
    fresh: Tally,
    earlier: Tally,
}

/// A place at work. It is given back once: by [`finish`](Self::finish), or when it is dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    since: Nanos,
    /// How many cuts there had been, of any gate.
    cuts: u64,
    finished: AtomicBool,
}

impl Gate {
    /// A gate that is open, without a guard; perhaps a part of a whole, whose guard then counts, too.
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

    /// How many may be at work at once, at least 1; all, where none is said.
    pub fn set_guard(&self, max: Option<u64>) {
        let max = max.unwrap_or(UNGUARDED).max(1);
        self.guard.store(max, Ordering::Relaxed);
    }

    /// Up to how many at work in the whole one may still come in here; all, where none is said.
    pub fn set_room(&self, max: Option<u64>) {
        let max = max.unwrap_or(UNGUARDED).max(1);
        self.room.store(max, Ordering::Relaxed);
    }

    /// The share of calls that goes on, in parts per million.
    pub fn set_open(&self, ppm: u32) {
        self.open_ppm.store(ppm.min(WIDE_OPEN), Ordering::Relaxed);
    }

    /// From here on, work that has begun is [`Work`] of an earlier load.
    pub fn cut(&self) {
        let cut = CUTS.fetch_add(1, Ordering::Relaxed) + 1;
        self.cut.store(cut, Ordering::Relaxed);
        self.fresh.drain_into(&self.earlier);
    }

    /// Asks for a call that is let in and not heard of again; `judge` is the limit.
    pub fn check<E>(&self, judge: impl FnOnce() -> Result<Usage, E>) -> Result<Entry<()>, E> {
        self.each(|gate| count(&gate.asked));
        if self.sheds() {
            return Ok(Entry::Shed);
        }
        let usage = judge()?;
        Ok(self.judged(usage, ()))
    }

    /// Asks for a call that takes a place; `judge` is the limit, and is not asked where no place is free.
    pub fn enter<E>(
        self: &Arc<Self>,
        judge: impl FnOnce() -> Result<Usage, E>,
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
        let usage = judge().inspect_err(|_| permit.finish_quietly())?;
        if !usage.allowed() {
            permit.finish_quietly();
        }
        Ok(self.judged(usage, permit))
    }

    /// A place whatever the guard and the opening say.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Permit {
        self.each(|gate| {
            count(&gate.asked);
            gate.in_flight.fetch_add(1, Ordering::Relaxed);
        });
        self.permit()
    }

    /// Counts work that was measured elsewhere, as work that began now.
    pub fn record(&self, outcome: Outcome, duration: Nanos) {
        self.each(|gate| gate.fresh.record(outcome, duration));
    }

    /// How the work went that ended since this was last asked: what began after the last cut, and before it.
    #[must_use]
    pub fn drain(&self) -> (Work, Work) {
        (self.fresh.drain(), self.earlier.drain())
    }

    /// How the gate stands.
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

    /// Whether this call is of the share that does not go on. Of any thousand calls in a row exactly the share does, to
    /// one: a coin would need a second of luck to be as fair.
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

    /// Takes a place here and in all that this is a part of, or nowhere.
    fn take(&self) -> Result<(), (u64, u64)> {
        self.take_below(self.guard.load(Ordering::Relaxed))?;
        let Some(whole) = &self.whole else {
            return Ok(());
        };
        whole
            .take_as_part(self.room.load(Ordering::Relaxed))
            .inspect_err(|_| self.leave())
    }

    /// A place for a part that may come in while fewer than `room` are at work. What is kept for others is a limit; only
    /// where there is no place for anybody, the guard holds.
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

    /// This gate, and those of all that it is a part of.
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
    /// Gives the place back, once, and counts how the work went. Returns whether it was this call that did.
    pub fn finish(&self, outcome: Outcome) -> bool {
        let first = self.give_back();
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

    fn finish_quietly(&self) {
        self.give_back();
    }

    fn give_back(&self) -> bool {
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
        if self.give_back() {
            self.gate.each(|gate| count(&gate.abandoned));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
