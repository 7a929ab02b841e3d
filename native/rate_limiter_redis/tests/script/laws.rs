//! Arbitrary histories: what the limiter in memory answers, Redis answers too, however calls travel together.
//!
//! Limits are such that both count in the same ticks, and the clock shows whole microseconds. It never goes back: what
//! happens then differs (see `traps`).

use std::cell::RefCell;
use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use rate_limiter_core::{Algorithm, Limit, Nanos, Retry, Tag, Usage};

use crate::model::Call;
use crate::remote::Remote;
use crate::rig::Rig;

const CASES: u32 = 300;

/// What a change of limit makes of a large debt may be more than the script counts.
const MOST_OWED: Nanos = Nanos(1 << 52);

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;

#[derive(Clone, Debug)]
enum Step {
    Check(u64, u8, Cost),
    Peek(u64, u8, Cost),
    Refund(u64, u8, Cost),
    Reset(u64, u8),
    Scale(u32),
    /// Another limit for the window in this place: its amount, its parts' length, its burst.
    Update(usize, u64, u64, Option<u64>),
    /// What was asked goes on its way, and time passes.
    Wait(Span),
    /// What was asked goes on its way.
    Send,
}

#[derive(Clone, Debug)]
enum Cost {
    Units(u64),
    Left(u64),
    Max(u64),
}

/// In microseconds.
#[derive(Clone, Debug)]
enum Span {
    Micros(u64),
    /// So many thousandths of the first window's period.
    Periods(u64),
    /// What the last answer said of retry, and of reset, less so much.
    Retry(u64),
    Reset(u64),
}

fn amounts() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..=20_u64, 1 => select(vec![60, 100, 123_457, 999_999, 1_000_000_001, 3_000_000_000])]
}

/// How long a sub-window is, or a period that has none.
fn parts() -> impl Strategy<Value = u64> {
    let usual = vec![SECOND / 10, SECOND, 60 * SECOND, HOUR];
    let odd = vec![1, 7, 333_333, 1_000_003];
    prop_oneof![3 => select(usual), 1 => select(odd)]
}

fn limits() -> impl Strategy<Value = Limit> {
    let bursts = prop_oneof![Just(None), (1..=30_u64).prop_map(Some)];
    let buckets = (amounts(), parts(), bursts)
        .prop_map(|(limit, part, burst)| of(limit, part, Algorithm::TokenBucket { burst }));
    let sub_windows = prop_oneof![4 => 1..=12_u32, 1 => select(vec![60, 119, 120])];
    let windows = (amounts(), parts(), sub_windows).prop_map(|(limit, part, sub_windows)| {
        of(limit, part, Algorithm::SlidingWindow { sub_windows })
    });
    let logs =
        (1..=20_u64, parts()).prop_map(|(limit, part)| of(limit, part, Algorithm::SlidingLog));
    let fixed = (amounts(), parts(), any::<bool>())
        .prop_map(|(limit, part, aligned)| of(limit, part, Algorithm::FixedWindow { aligned }));
    prop_oneof![buckets, windows, logs, fixed]
        .prop_filter("a rate that is kept", |limit| limit.validate().is_ok())
}

fn of(limit: u64, part: u64, algorithm: Algorithm) -> Limit {
    let parts = match algorithm {
        Algorithm::SlidingWindow { sub_windows } => u64::from(sub_windows),
        _ => 1,
    };
    Limit::new(limit, Duration::from_micros(part * parts), algorithm)
}

fn costs() -> impl Strategy<Value = Cost> {
    let large = select(vec![
        0,
        100,
        1 << 31,
        1 << 32,
        (1 << 53) + 1,
        1 << 63,
        u64::MAX,
    ]);
    prop_oneof![
        6 => (1..=4_u64).prop_map(Cost::Units),
        1 => large.prop_map(Cost::Units),
        2 => (0..=1_u64).prop_map(Cost::Left),
        1 => (0..=1_u64).prop_map(Cost::Max),
    ]
}

fn spans() -> impl Strategy<Value = Span> {
    prop_oneof![
        1 => (0..=3_u64).prop_map(Span::Micros),
        4 => (1..=2_500_u64).prop_map(Span::Periods),
        3 => (0..=1_u64).prop_map(Span::Retry),
        1 => (0..=1_u64).prop_map(Span::Reset),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let whose = || (0..3_u64, any::<u8>(), costs());
    let scales = prop_oneof![4 => select(vec![1_000_000, 500_000, 333_333, 100_000]), 1 => 1_000..=3_000_000_u32];
    let burst = prop_oneof![Just(None), (1..=30_u64).prop_map(Some)];
    prop_oneof![
        12 => whose().prop_map(|(id, windows, cost)| Step::Check(id, windows, cost)),
        3 => whose().prop_map(|(id, windows, cost)| Step::Peek(id, windows, cost)),
        2 => whose().prop_map(|(id, windows, cost)| Step::Refund(id, windows, cost)),
        1 => (0..3_u64, any::<u8>()).prop_map(|(id, windows)| Step::Reset(id, windows)),
        8 => spans().prop_map(Step::Wait),
        4 => Just(Step::Send),
        1 => scales.prop_map(Step::Scale),
        1 => (0..3_usize, amounts(), parts(), burst)
            .prop_map(|(place, limit, part, burst)| Step::Update(place, limit, part, burst)),
    ]
}

/// The limiter in memory, and what it is asked until it is sent to the one in Redis.
struct Twins<'a> {
    memory: Rig,
    remote: &'a mut Remote,
    limits: Vec<(Tag, Limit)>,
    now: u64,
    last: Usage,
    owes_too_much: bool,
    batch: Vec<Call>,
    expected: Vec<Vec<(Tag, Usage)>>,
}

impl Twins<'_> {
    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let call = match step {
            Step::Check(id, windows, cost) => {
                Call::Check(*id, self.chosen(*windows), self.units(cost))
            }
            Step::Peek(id, windows, cost) => {
                Call::Peek(*id, self.chosen(*windows), self.units(cost))
            }
            Step::Refund(id, windows, cost) => {
                Call::Refund(*id, self.chosen(*windows), self.units(cost))
            }
            Step::Reset(id, windows) => Call::Reset(*id, self.chosen(*windows)),
            Step::Scale(ppm) => Call::Scale(*ppm),
            Step::Update(place, limit, part, burst) => {
                let place = place % self.limits.len();
                let (tag, known) = &mut self.limits[place];
                let changed = match known.algorithm() {
                    Algorithm::TokenBucket { .. } => {
                        of(*limit, *part, Algorithm::TokenBucket { burst: *burst })
                    }
                    Algorithm::SlidingLog => of((*limit).min(10_000), *part, Algorithm::SlidingLog),
                    other => of(*limit, *part, other),
                };
                if changed.validate().is_err() {
                    return Ok(());
                }
                *known = changed.clone();
                Call::Update(*tag, changed)
            }
            Step::Wait(span) => {
                self.send()?;
                self.now += self.micros(span);
                return Ok(());
            }
            Step::Send => return self.send(),
        };
        let usages = self.memory.at(self.now * 1_000).call(&call);
        if let Some((_, usage)) = usages.first() {
            self.last = *usage;
        }
        let mut owed = usages.iter().map(|(_, usage)| usage.reset_after);
        self.owes_too_much |= owed.any(|owed| owed > MOST_OWED);
        self.batch.push(call);
        self.expected.push(usages);
        Ok(())
    }

    fn send(&mut self) -> Result<(), TestCaseError> {
        let batch = std::mem::take(&mut self.batch);
        let expected = std::mem::take(&mut self.expected);
        let answers = self.remote.calls(self.now * 1_000, &batch);
        for (call, (answer, expected)) in batch.iter().zip(answers.iter().zip(&expected)) {
            prop_assert_eq!(answer, expected, "{:?} of {:?}", call, batch);
        }
        Ok(())
    }

    fn chosen(&self, windows: u8) -> Vec<Tag> {
        let tags = self.limits.iter().map(|(tag, _)| *tag);
        let chosen: Vec<Tag> = tags.clone().filter(|tag| windows >> tag & 1 == 1).collect();
        if chosen.is_empty() {
            tags.collect()
        } else {
            chosen
        }
    }

    fn units(&self, cost: &Cost) -> u64 {
        match *cost {
            Cost::Units(units) => units,
            Cost::Left(more) => self.last.remaining.saturating_add(more),
            Cost::Max(more) => self.last.max.saturating_add(more),
        }
    }

    fn micros(&self, span: &Span) -> u64 {
        let per = u64::try_from(self.limits[0].1.per().as_micros())
            .expect("a period that a limit can have");
        match *span {
            Span::Micros(micros) => micros,
            Span::Periods(thousandths) => {
                per / 1_000 * thousandths + per % 1_000 * thousandths / 1_000
            }
            Span::Retry(less) => match self.last.retry {
                Retry::After(wait) => wait.0.div_ceil(1_000).saturating_sub(less),
                Retry::Now | Retry::Never => 0,
            },
            Span::Reset(less) => self.last.reset_after.0.div_ceil(1_000).saturating_sub(less),
        }
    }
}

#[test]
fn redis_answers_as_memory_does() {
    let remote = RefCell::new(Remote::new(&[]));
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |_| config.cases);
    let mut runner = TestRunner::new(ProptestConfig { cases, ..config });
    let histories = (
        collection::vec(limits(), 1..=3),
        1..=1_u64 << 51,
        collection::vec(steps(), 1..80),
    );
    let law = |(limits, start, steps): (Vec<Limit>, u64, Vec<Step>)| {
        let remote = &mut *remote.borrow_mut();
        let limits: Vec<(Tag, Limit)> = (0..).zip(limits).collect();
        remote.run::<()>(&["FLUSHALL"]);
        remote.open("law", &limits);
        let mut twins = Twins {
            memory: Rig::new(&limits),
            remote,
            limits,
            now: start,
            last: Usage {
                max: 1,
                remaining: 1,
                reset_after: Nanos(0),
                retry: Retry::Now,
            },
            owes_too_much: false,
            batch: Vec::new(),
            expected: Vec::new(),
        };
        for step in &steps {
            twins.step(step)?;
            if twins.owes_too_much {
                return Ok(());
            }
        }
        twins.send()
    };
    if let Err(failure) = runner.run(&histories, law) {
        panic!("{failure}\n{runner}");
    }
}
