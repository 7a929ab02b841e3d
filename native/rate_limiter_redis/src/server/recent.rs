//! How many calls of the last seconds a server has not answered.
//!
//! The breaker shows this instant: a server that is too far away, or that refuses some keys, closes and opens it several
//! times a second, and is found closed as often as not.

use std::time::Instant;

/// The number of seconds that count, the present one included.
const SECONDS: usize = 5;

/// A server fails if it does not answer more than one call in this many.
const ONE_IN: u64 = 10;

#[derive(Debug)]
pub(super) struct Recent {
    start: Instant,
    seconds: [Second; SECONDS],
    /// Why the latest call without an answer had none.
    reason: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    calls: u64,
    failures: u64,
}

/// The calls of the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) failures: u64,
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            seconds: [Second::default(); SECONDS],
            reason: None,
        }
    }

    pub(super) fn add(&mut self, now: Instant, more: Tally) {
        let number = self.number(now);
        let place = usize::try_from(number).unwrap_or(0) % SECONDS;
        let second = &mut self.seconds[place];
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        second.calls += more.calls;
        second.failures += more.failures;
    }

    pub(super) fn set_reason(&mut self, reason: &str) {
        self.reason = Some(reason.into());
    }

    pub(super) fn tally(&self, now: Instant) -> Tally {
        let number = self.number(now);
        let counts = |second: &&Second| number - second.number.min(number) < SECONDS as u64;
        let recent = self.seconds.iter().filter(counts);
        recent.fold(Tally::default(), |tally, second| Tally {
            calls: tally.calls + second.calls,
            failures: tally.failures + second.failures,
        })
    }

    /// Returns why the latest call without an answer had none, if that was in one of the last seconds.
    pub(super) fn reason(&self, now: Instant) -> Option<&str> {
        self.reason
            .as_deref()
            .filter(|_| self.tally(now).failures > 0)
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

impl Tally {
    pub(super) fn is_failing(self) -> bool {
        self.failures * ONE_IN > self.calls
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tally(calls: u64, failures: u64) -> Tally {
        Tally { calls, failures }
    }

    #[test]
    fn calls_count_for_five_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut recent = Recent::new(start);
        assert_eq!(recent.tally(start), Tally::default());
        recent.add(at(900), tally(10, 3));
        recent.add(at(4_900), tally(5, 0));
        assert_eq!(recent.tally(at(4_999)), tally(15, 3));
        assert_eq!(recent.tally(at(5_000)), tally(5, 0));
        recent.add(at(5_100), tally(1, 1));
        assert_eq!(recent.tally(at(5_200)), tally(6, 1));
        // Without a call for a while.
        assert_eq!(recent.tally(at(99_000)), Tally::default());
        recent.add(at(99_000), tally(2, 2));
        assert_eq!(recent.tally(at(99_000)), tally(2, 2));
    }

    #[test]
    fn a_reason_is_forgotten_with_its_calls() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        recent.set_reason("it is slow");
        assert_eq!(recent.reason(start), None);
        recent.add(start, tally(9, 1));
        assert_eq!(recent.reason(start), Some("it is slow"));
        assert_eq!(recent.reason(start + Duration::from_secs(5)), None);
    }

    #[test]
    fn a_server_fails_that_does_not_answer_more_than_one_call_in_ten() {
        assert!(!tally(0, 0).is_failing());
        assert!(!tally(10, 1).is_failing());
        assert!(tally(9, 1).is_failing());
        assert!(tally(1, 1).is_failing());
    }
}
