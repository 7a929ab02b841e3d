//! Decides whether a server is worth asking. Pure: it is told the time and a random number, and keeps neither.

use std::time::{Duration, Instant};

/// Failures in a row after which nobody is made to wait any more.
pub const FAILURES: u32 = 5;

/// From opening to the first probe.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Between probes, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Every call.
    Closed,
    /// None, until the pause is over.
    Open,
    /// None but one probe, under way.
    HalfOpen,
}

/// Opens after so many failures in a row, or when told to; then asks for one probe at a time, after pauses that double;
/// closes when a probe succeeds.
#[derive(Debug)]
pub struct Breaker {
    phase: Phase,
    failures: u32,
    /// Probes that failed since it opened.
    failed_probes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

/// A change, for whoever listens.
pub type Change = Option<(State, State)>;

impl Breaker {
    /// Returns a closed breaker.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: Phase::Closed,
            failures: 0,
            failed_probes: 0,
        }
    }

    /// Returns what it lets through now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen => State::HalfOpen,
        }
    }

    /// A call was answered. What a call says that was sent before it opened changes nothing: only a probe closes it.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }

    /// A call failed. `jitter` is anything, evenly distributed.
    pub fn fail(&mut self, now: Instant, jitter: u64) -> Change {
        self.failures = self.failures.saturating_add(1);
        if self.phase == Phase::Closed && self.failures >= FAILURES {
            return Some(self.open(now, jitter));
        }
        None
    }

    /// It is known that nothing can be sent.
    pub fn trip(&mut self, now: Instant, jitter: u64) -> Change {
        match self.phase {
            Phase::Closed => Some(self.open(now, jitter)),
            _ => None,
        }
    }

    /// When the next probe is due; `None` where none is wanted, or one is under way.
    pub fn probe_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } => Some(until),
            _ => None,
        }
    }

    /// The pause is cut short: something changed that may help.
    pub fn hurry(&mut self, now: Instant) {
        if let Phase::Open { until } = &mut self.phase {
            *until = now;
            self.failed_probes = 0;
        }
    }

    /// A probe begins, if it is due. Whoever starts it reports how it went.
    pub fn probe(&mut self, now: Instant) -> Change {
        match self.phase {
            Phase::Open { until } if until <= now => Some(self.turn(Phase::HalfOpen)),
            _ => None,
        }
    }

    /// The probe succeeded.
    pub fn probe_succeeded(&mut self) -> Change {
        self.failures = 0;
        self.failed_probes = 0;
        match self.phase {
            Phase::HalfOpen => Some(self.turn(Phase::Closed)),
            _ => None,
        }
    }

    /// The probe failed.
    pub fn probe_failed(&mut self, now: Instant, jitter: u64) -> Change {
        match self.phase {
            Phase::HalfOpen => {
                self.failed_probes = self.failed_probes.saturating_add(1);
                Some(self.open(now, jitter))
            }
            _ => None,
        }
    }

    fn open(&mut self, now: Instant, jitter: u64) -> (State, State) {
        let until = now + pause(self.failed_probes, jitter);
        self.turn(Phase::Open { until })
    }

    fn turn(&mut self, to: Phase) -> (State, State) {
        let from = self.state();
        self.phase = to;
        (from, self.state())
    }
}

/// Doubles with each probe that failed, up to a limit; of that, between a half and all, so that many nodes do not come
/// at once.
fn pause(failed_probes: u32, jitter: u64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failed_probes.min(16));
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
        let mut breaker = Breaker::new();
        assert!(breaker.trip(now, 0).is_some());
        breaker
    }

    #[test]
    fn it_opens_at_the_fifth_failure_in_a_row() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 1..FAILURES {
            assert_eq!(breaker.fail(now, 0), None);
        }
        breaker.succeed();
        for _ in 1..FAILURES {
            assert_eq!(breaker.fail(now, 0), None);
        }
        let change = breaker.fail(now, 0);
        assert_eq!(change, Some((State::Closed, State::Open)));
        assert_eq!(breaker.fail(now, 0), None, "it is open already");
    }

    #[test]
    fn only_a_probe_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.succeed();
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.probe_succeeded(), None, "no probe was under way");
        let due = breaker.probe_at().unwrap();
        assert_eq!(breaker.probe(due), Some((State::Open, State::HalfOpen)));
        assert_eq!(breaker.probe(due), None, "one at a time");
        breaker.succeed();
        assert_eq!(breaker.state(), State::HalfOpen);
        let change = breaker.probe_succeeded();
        assert_eq!(change, Some((State::HalfOpen, State::Closed)));
    }

    #[test]
    fn no_probe_begins_before_it_is_due() {
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
        fn pauses_double_up_to_a_limit_and_differ(probes in 0_u32..100, jitter: u64) {
            let full = FIRST_PAUSE.saturating_mul(1 << probes.min(16)).min(LONGEST_PAUSE);
            let pause = pause(probes, jitter);
            prop_assert!(pause >= full / 2 && pause < full);
        }

        #[test]
        fn failing_probes_leave_it_open(jitters in prop::collection::vec(any::<u64>(), 1..20)) {
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
