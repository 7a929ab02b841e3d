//! The rate of the counter, from readings of it and of the operating system's clock.
//!
//! The rate is taken over the last ten to twenty seconds, and a reading that contradicts it discards it. So neither a
//! suspend, during which the operating system's clock runs and the counter may not, nor another processor after a
//! virtual machine has moved, leaves a wrong rate behind.

use super::anchor::{Anchor, MIN_BASE};

/// A span of the rate that is so long is continued by the next one.
const SPAN: u64 = 10_000_000_000;

/// The error of two readings. A shorter suspend is not noticed.
const NOISE: u128 = 10_000;

/// One part in so many is more than both clocks part without a reason: a clock is adjusted by at most 0.05 %.
const DRIFT: u128 = 1_000;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) nanos: u64,
    pub(super) ticks: u64,
}

/// The readings that determine the rate.
#[derive(Debug)]
pub(super) struct Readings(Option<Span>);

#[derive(Clone, Copy, Debug)]
struct Span {
    start: Reading,
    /// The start of the next span.
    next: Reading,
    last: Reading,
}

impl Reading {
    /// Returns nanoseconds and ticks since `earlier`.
    fn since(self, earlier: Self) -> (u64, u64) {
        (
            self.nanos.saturating_sub(earlier.nanos),
            self.ticks.wrapping_sub(earlier.ticks),
        )
    }
}

impl Readings {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Adds a reading, and returns the anchor there; `None` while no rate is known that a further span has confirmed.
    pub(super) fn add(&mut self, now: Reading) -> Option<Anchor> {
        let Some(span) = self.0 else {
            self.0 = Some(Span::new(now));
            return None;
        };
        let (nanos, ticks) = now.since(span.last);
        if nanos < MIN_BASE {
            return None;
        }
        let agrees = span.agrees(nanos, ticks);
        let next = if agrees == Some(false) {
            Span::new(now)
        } else {
            span.extended(now)
        };
        self.0 = Some(next);
        agrees.filter(|agrees| *agrees)?;
        Anchor::new(now.nanos, now.ticks, now.since(next.start))
    }
}

impl Span {
    fn new(now: Reading) -> Self {
        let (start, next, last) = (now, now, now);
        Self { start, next, last }
    }

    /// Returns whether the clocks have run at the known rate since the last reading; `None` without a rate.
    fn agrees(&self, nanos: u64, ticks: u64) -> Option<bool> {
        let (known_nanos, known_ticks) = self.last.since(self.start);
        if known_nanos == 0 || known_ticks == 0 {
            return None;
        }
        let expected = u128::from(ticks) * u128::from(known_nanos) / u128::from(known_ticks);
        let nanos = u128::from(nanos);
        // The known rate is as uncertain as its two readings are in their span.
        let uncertain = expected.min(nanos) * NOISE / u128::from(known_nanos);
        Some(expected.abs_diff(nanos) <= NOISE + nanos / DRIFT + uncertain)
    }

    fn extended(self, now: Reading) -> Self {
        let (start, next) = if now.nanos.saturating_sub(self.next.nanos) >= SPAN {
            (self.next, now)
        } else {
            (self.start, self.next)
        };
        Self {
            start,
            next,
            last: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::anchor::Anchored;
    use super::*;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;
    const HOUR: u64 = 3_600 * SECOND;

    /// The running time for which an anchor may still be used.
    const ANCHORED: u64 = 51 * MS;

    /// A machine with a counter, and a program that reads it.
    struct Machine {
        nanos: u64,
        /// Running time, in which the counter advances.
        running: u64,
        /// The counter at running time 0; it changes when the counter is reset.
        zero: u64,
        mhz: u64,
        readings: Readings,
        anchored: Anchored,
    }

    impl Machine {
        fn new(mhz: u64) -> Self {
            Self {
                nanos: 0,
                running: 0,
                zero: 0,
                mhz,
                readings: Readings::new(),
                anchored: Anchored::new(),
            }
        }

        fn ticks(&self) -> u64 {
            let ticks = u128::from(self.running) * u128::from(self.mhz) / 1_000;
            u64::try_from(ticks)
                .expect("a short life")
                .wrapping_add(self.zero)
        }

        fn run(&mut self, span: u64) {
            self.nanos += span;
            self.running += span;
        }

        /// As `counter::now`: `noise` is how far the readings of both clocks are apart.
        fn now(&mut self, noise: u64) -> u64 {
            let ticks = self.ticks();
            self.anchored.nanos(ticks).unwrap_or_else(|| {
                let nanos = self.nanos + noise;
                if let Some(anchor) = self.readings.add(Reading { nanos, ticks }) {
                    self.anchored.set(anchor);
                }
                nanos
            })
        }

        /// Calls every few milliseconds, and returns the largest error.
        fn call_for(&mut self, span: u64) -> u64 {
            let steps = span.div_ceil(7 * MS);
            let errors = (0..steps).map(|_| {
                self.run(7 * MS);
                self.now(0).abs_diff(self.nanos)
            });
            errors.max().unwrap_or(0)
        }
    }

    #[test]
    fn a_night_asleep_leaves_no_wrong_rate_behind() {
        let mut machine = Machine::new(3_000);
        assert!(machine.call_for(HOUR / 60) < 2_000);
        machine.nanos += 8 * HOUR;
        machine.call_for(ANCHORED);
        assert!(machine.call_for(HOUR / 60) < 2_000);
    }

    #[test]
    fn the_counter_is_used_again_after_a_suspend_and_after_a_reset() {
        let mut machine = Machine::new(2_100);
        machine.call_for(SECOND);
        assert!(machine.anchored.nanos(machine.ticks()).is_some());
        for zero in [0, 1 << 40, 0_u64.wrapping_sub(1 << 50)] {
            machine.nanos += HOUR;
            machine.zero = zero;
            machine.call_for(200 * MS);
            assert!(machine.anchored.nanos(machine.ticks()).is_some());
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Run(u64),
        Suspend(u64),
        /// As `Suspend`, and the counter continues elsewhere.
        Restart(u64, u64),
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0..100 * MS).prop_map(Step::Run),
            2 => (0..30 * SECOND).prop_map(Step::Run),
            1 => (0..12 * HOUR).prop_map(Step::Suspend),
            1 => (0..100 * MS).prop_map(Step::Suspend),
            1 => (0..12 * HOUR, any::<u64>()).prop_map(|(span, zero)| Step::Restart(span, zero)),
        ]
    }

    proptest! {
        #[test]
        fn the_time_is_right_but_for_a_moment_after_a_suspend(
            mhz in 10_u64..6_000,
            steps in proptest::collection::vec((steps(), 0_u64..500), 1..400),
        ) {
            let mut machine = Machine::new(mhz);
            // What was slept, and until when the time may be late by as much: while an anchor of before is used.
            let (mut slept, mut until) = (0, 0);
            for (step, noise) in steps {
                match step {
                    Step::Run(span) => machine.run(span),
                    Step::Suspend(span) | Step::Restart(span, _) => {
                        if machine.running >= until {
                            slept = 0;
                        }
                        machine.nanos += span;
                        (slept, until) = (slept + span, machine.running + ANCHORED);
                        if let Step::Restart(_, zero) = step {
                            machine.zero = zero;
                        }
                    }
                }
                let lacking = if machine.running < until { slept } else { 0 };
                let now = machine.now(noise);
                // A suspend that is not noticed, and the noise, change the rate by less than a hundredth.
                let most = 500_000;
                let early = now.saturating_sub(machine.nanos);
                prop_assert!(early <= most, "{early} ns early");
                let late = machine.nanos.saturating_sub(now);
                prop_assert!(late <= most + lacking, "{late} ns late");
            }
        }
    }
}
