//! A circuit breaker: decides whether calls are sent to a server. Pure: its callers pass the time and random numbers.

use std::time::{Duration, Instant};

/// Consecutive failures after which it opens.
pub const FAILURES: u32 = 5;

/// The pause between opening and the first probe.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between probes.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long it has to stay closed until its next pause is the first one again. Longer than [`LONGEST_PAUSE`], so that one
/// that opens again and again does so after ever longer pauses, and not at full speed.
const STABLE: Duration = Duration::from_secs(5);

/// What a breaker admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// All calls.
    Closed,
    /// No calls, until the pause is over.
    Open,
    /// No calls but one probe, which is in flight.
    HalfOpen,
}

/// Opens after [`FAILURES`] consecutive failures or on request; then requests one probe at a time, after pauses that
/// double; closes when a probe succeeds.
///
/// ```
/// use rate_limiter_distributed::breaker::{Breaker, State};
/// use std::time::Instant;
///
/// let (mut breaker, now) = (Breaker::default(), Instant::now());
/// assert_eq!(breaker.trip(now, 0), Some((State::Closed, State::Open)));
/// let due = breaker.probe_at().expect("a probe after the pause");
/// assert_eq!(breaker.probe(due), Some((State::Open, State::HalfOpen)));
/// assert_eq!(breaker.probe_succeeded(due), Some((State::HalfOpen, State::Closed)));
/// ```
#[derive(Debug, Default)]
pub struct Breaker {
    phase: Phase,
    failures: u32,
    /// Pauses since it was last stable.
    pauses: u32,
    /// When a probe last closed it.
    closed_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    HalfOpen,
}

/// The old and the new state, if it has changed.
pub type Change = Option<(State, State)>;

impl Breaker {
    /// Returns what it admits now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen => State::HalfOpen,
        }
    }

    /// Reports that a call was answered. This does not close an open breaker, since the call may have been sent before
    /// it opened: only a probe does.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Reports that a call failed. `jitter` is any number, evenly distributed.
    pub fn fail(&mut self, now: Instant, jitter: u64) -> Change {
        self.failures = self.failures.saturating_add(1);
        if self.phase == Phase::Closed && self.failures >= FAILURES {
            return Some(self.open(now, jitter));
        }
        None
    }

    /// Opens it, since no call can be sent.
    pub fn trip(&mut self, now: Instant, jitter: u64) -> Change {
        match self.phase {
            Phase::Closed => Some(self.open(now, jitter)),
            _ => None,
        }
    }

    /// Returns when the next probe is due; `None` if none is needed, or one is in flight.
    #[must_use]
    pub fn probe_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Ends the pause early, since a change may have helped.
    pub fn hurry(&mut self, now: Instant) {
        if let Phase::Open { until } = &mut self.phase {
            *until = now;
            self.pauses = 0;
        }
    }

    /// Starts a probe if one is due. The caller sends it and reports its result.
    pub fn probe(&mut self, now: Instant) -> Change {
        match self.phase {
            Phase::Open { until } if until <= now => Some(self.turn(Phase::HalfOpen)),
            _ => None,
        }
    }

    /// Reports that the probe succeeded.
    pub fn probe_succeeded(&mut self, now: Instant) -> Change {
        self.failures = 0;
        match self.phase {
            Phase::HalfOpen => {
                self.closed_at = Some(now);
                Some(self.turn(Phase::Closed))
            }
            _ => None,
        }
    }

    /// Reports that the probe failed.
    pub fn probe_failed(&mut self, now: Instant, jitter: u64) -> Change {
        match self.phase {
            Phase::HalfOpen => Some(self.open(now, jitter)),
            _ => None,
        }
    }

    fn open(&mut self, now: Instant, jitter: u64) -> (State, State) {
        if self
            .closed_at
            .take()
            .is_some_and(|closed| now.saturating_duration_since(closed) >= STABLE)
        {
            self.pauses = 0;
        }
        let until = now + pause(self.pauses, jitter);
        self.pauses = self.pauses.saturating_add(1);
        self.turn(Phase::Open { until })
    }

    fn turn(&mut self, to: Phase) -> (State, State) {
        let from = self.state();
        self.phase = to;
        (from, self.state())
    }
}

/// Returns a pause that doubles with each one before it, up to a limit: between a half and all of it, so that many nodes
/// do not connect at the same moment.
fn pause(earlier: u32, jitter: u64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << earlier.min(16));
    let full = doubled.min(LONGEST_PAUSE);
    let half = full / 2;
    let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_nanos(jitter % span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        assert!(breaker.trip(now, 0).is_some());
        breaker
    }

    #[test]
    fn a_breaker_opens_at_the_fifth_consecutive_failure() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert_eq!(breaker.fail(now, 0), None);
        }
        breaker.succeed();
        for _ in 1..FAILURES {
            assert_eq!(breaker.fail(now, 0), None);
        }
        let change = breaker.fail(now, 0);
        assert_eq!(change, Some((State::Closed, State::Open)));
        assert_eq!(breaker.fail(now, 0), None, "already open");
    }

    #[test]
    fn only_a_probe_closes_a_breaker() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.succeed();
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.probe_succeeded(now), None, "no probe was in flight");
        let due = breaker.probe_at().unwrap();
        assert_eq!(breaker.probe(due), Some((State::Open, State::HalfOpen)));
        assert_eq!(breaker.probe(due), None, "one at a time");
        breaker.succeed();
        assert_eq!(breaker.state(), State::HalfOpen);
        let change = breaker.probe_succeeded(due);
        assert_eq!(change, Some((State::HalfOpen, State::Closed)));
    }

    #[test]
    fn no_probe_starts_before_it_is_due() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let due = breaker.probe_at().unwrap();
        assert!(due >= now + FIRST_PAUSE / 2);
        assert_eq!(breaker.probe(now + FIRST_PAUSE / 4), None);
        breaker.hurry(now);
        assert!(breaker.probe(now).is_some());
    }

    proptest! {
        #[test]
        fn pauses_double_up_to_a_limit_and_vary_by_jitter(probes in 0_u32..100, jitter: u64) {
            let full = FIRST_PAUSE.saturating_mul(1 << probes.min(16)).min(LONGEST_PAUSE);
            let pause = pause(probes, jitter);
            prop_assert!(pause >= full / 2 && pause < full);
        }

        /// The probe always succeeds, and calls fail at once: the case that its own probes do not show.
        #[test]
        fn a_breaker_that_flaps_opens_at_most_about_twice_a_second(
            jitters in prop::collection::vec(any::<u64>(), 40),
            closed_ms in 0_u64..3_000,
        ) {
            let start = Instant::now();
            let (mut now, mut breaker) = (start, Breaker::default());
            let mut opened = 0_u32;
            for jitter in jitters {
                prop_assert!(breaker.trip(now, jitter).is_some());
                opened += 1;
                now = breaker.probe_at().unwrap();
                prop_assert!(breaker.probe(now).is_some());
                prop_assert!(breaker.probe_succeeded(now).is_some());
                now += Duration::from_millis(closed_ms);
            }
            prop_assert!((now - start).as_secs() * 2 + 8 >= u64::from(opened));
            prop_assert!(breaker.trip(now + STABLE, 0).is_some());
            prop_assert!(breaker.probe_at().unwrap() < now + STABLE + FIRST_PAUSE);
        }

        #[test]
        fn failing_probes_leave_a_breaker_open(jitters in prop::collection::vec(any::<u64>(), 1..20)) {
            let mut now = Instant::now();
            let mut breaker = opened(now);
            for jitter in jitters {
                now = breaker.probe_at().unwrap();
                prop_assert!(breaker.probe(now).is_some());
                prop_assert_eq!(breaker.probe_at(), None);
                let change = breaker.probe_failed(now, jitter);
                prop_assert_eq!(change, Some((State::HalfOpen, State::Open)));
                prop_assert!(breaker.probe_at().unwrap() <= now + LONGEST_PAUSE);
            }
        }
    }
}
