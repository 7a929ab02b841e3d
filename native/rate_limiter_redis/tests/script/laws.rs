//! Random histories: Redis answers as the limiter in memory does, however calls are grouped into commands.
//!
//! Both count in the same ticks for the limits used here, and the clock shows whole microseconds. It never goes back,
//! since the answers then differ (see `traps`).

use std::cell::RefCell;
use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use rate_limiter_core::{Algorithm, Limit, Nanos, Retry, Tag, Usage};

use crate::model::Call;
use crate::redis_limiter::RedisLimiter;
use crate::rig::Rig;

const CASES: u32 = 300;

/// The largest debt that the script counts exactly. A change of limit can exceed it.
const MAX_DEBT: Nanos = Nanos(1 << 52);

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;

#[derive(Clone, Debug)]
enum Step {
    Check(u64, u8, Cost),
    Peek(u64, u8, Cost),
    Refund(u64, u8, Cost),
    Reset(u64, u8),
    Scale(u32),
    /// A new limit for the window at this position: amount, length of a part, burst.
    Update(usize, u64, u64, Option<u64>),
    /// Turns shadow mode of the window at this position on or off.
    Enforce(usize, bool),
    /// Sends the calls, then time passes.
    Wait(Span),
    /// Sends the calls.
    Send,
}

#[derive(Clone, Debug)]
enum Cost {
    Units(u64),
    Left(u64),
    Max(u64),
}

/// A time in microseconds.
#[derive(Clone, Debug)]
enum Span {
    Micros(u64),
    /// Thousandths of the first window's period.
    Periods(u64),
    /// The last answer's retry time, less this much.
    Retry(u64),
    /// The last answer's reset time, less this much.
    Reset(u64),
}

fn amounts() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..=20_u64, 1 => select(vec![60, 100, 123_457, 999_999, 1_000_000_001, 3_000_000_000])]
}

/// The length of a sub-window, or of a period without sub-windows.
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
    let limits = prop_oneof![buckets, windows, logs, fixed]
        .prop_filter("a valid limit", |limit| limit.validate().is_ok());
    // Some in shadow mode.
    (limits, prop::bool::weighted(0.7)).prop_map(|(limit, is_enforced)| limit.enforced(is_enforced))
}

fn of(limit: u64, part: u64, algorithm: Algorithm) -> Limit {
    let parts = match algorithm {
        Algorithm::SlidingWindow { sub_windows } => u64::from(sub_windows),
        _ => 1,
    };
    Limit::new(limit, Duration::from_micros(part * parts), algorithm)
}

/// What a state depends on: a bucket's time for a token, in fine parts, or the period of the others.
type Rate = u128;

fn rate(limit: &Limit) -> Rate {
    let per = limit.per().as_nanos();
    let Algorithm::TokenBucket { .. } = limit.algorithm() else {
        return per;
    };
    (per << 40).div_ceil(limit.limit().into())
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
    let arguments = || (0..3_u64, any::<u8>(), costs());
    let scales = prop_oneof![4 => select(vec![1_000_000, 500_000, 333_333, 100_000]), 1 => 1_000..=3_000_000_u32];
    let burst = prop_oneof![Just(None), (1..=30_u64).prop_map(Some)];
    prop_oneof![
        12 => arguments().prop_map(|(id, windows, cost)| Step::Check(id, windows, cost)),
        3 => arguments().prop_map(|(id, windows, cost)| Step::Peek(id, windows, cost)),
        2 => arguments().prop_map(|(id, windows, cost)| Step::Refund(id, windows, cost)),
        1 => (0..3_u64, any::<u8>()).prop_map(|(id, windows)| Step::Reset(id, windows)),
        8 => spans().prop_map(Step::Wait),
        4 => Just(Step::Send),
        1 => scales.prop_map(Step::Scale),
        1 => (0..3_usize, amounts(), parts(), burst)
            .prop_map(|(place, limit, part, burst)| Step::Update(place, limit, part, burst)),
        1 => (0..3_usize, any::<bool>())
            .prop_map(|(place, is_enforced)| Step::Enforce(place, is_enforced)),
    ]
}

/// A limiter in memory, one in Redis, and the calls that are not yet sent to the latter.
struct Pair<'a> {
    memory: Rig,
    limiter: &'a mut RedisLimiter,
    limits: Vec<(Tag, Limit)>,
    /// The rates that each window had before. It does not return to them here: Redis still knows what was used under
    /// them, since other nodes may judge by them (see `several`).
    former: Vec<Vec<Rate>>,
    now: u64,
    last: Usage,
    exceeds_script: bool,
    batch: Vec<Call>,
    expected: Vec<Vec<(Tag, Usage)>>,
}

impl Pair<'_> {
    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let call = match step {
            Step::Check(id, windows, cost) => {
                Call::Check(*id, self.selected(*windows), self.units(cost))
            }
            Step::Peek(id, windows, cost) => {
                Call::Peek(*id, self.selected(*windows), self.units(cost))
            }
            Step::Refund(id, windows, cost) => {
                Call::Refund(*id, self.selected(*windows), self.units(cost))
            }
            Step::Reset(id, windows) => Call::Reset(*id, self.selected(*windows)),
            Step::Scale(ppm) => Call::Scale(*ppm),
            Step::Update(place, limit, part, burst) => {
                let place = place % self.limits.len();
                let (tag, known) = &mut self.limits[place];
                let changed = match known.algorithm() {
                    Algorithm::TokenBucket { .. } => {
                        of(*limit, *part, Algorithm::TokenBucket { burst: *burst })
                    }
                    Algorithm::SlidingLog => of((*limit).min(1_000), *part, Algorithm::SlidingLog),
                    other => of(*limit, *part, other),
                };
                let changed = changed.enforced(known.is_enforced());
                if changed.validate().is_err() || self.former[place].contains(&rate(&changed)) {
                    return Ok(());
                }
                if rate(&changed) != rate(known) {
                    self.former[place].push(rate(known));
                }
                *known = changed.clone();
                Call::Update(*tag, changed)
            }
            Step::Enforce(place, is_enforced) => {
                let place = place % self.limits.len();
                let (tag, known) = &mut self.limits[place];
                *known = known.clone().enforced(*is_enforced);
                Call::Update(*tag, known.clone())
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
        let mut debts = usages.iter().map(|(_, usage)| usage.reset_after);
        self.exceeds_script |= debts.any(|debt| debt > MAX_DEBT);
        self.batch.push(call);
        self.expected.push(usages);
        Ok(())
    }

    fn send(&mut self) -> Result<(), TestCaseError> {
        let batch = std::mem::take(&mut self.batch);
        let expected = std::mem::take(&mut self.expected);
        let answers = self.limiter.calls(self.now * 1_000, &batch);
        for (call, (answer, expected)) in batch.iter().zip(answers.iter().zip(&expected)) {
            prop_assert_eq!(answer, expected, "{:?} of {:?}", call, batch);
        }
        Ok(())
    }

    fn selected(&self, windows: u8) -> Vec<Tag> {
        let tags = self.limits.iter().map(|(tag, _)| *tag);
        let selected: Vec<Tag> = tags.clone().filter(|tag| windows >> tag & 1 == 1).collect();
        if selected.is_empty() {
            tags.collect()
        } else {
            selected
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
        let per = u64::try_from(self.limits[0].1.per().as_micros()).expect("a valid period");
        match *span {
            Span::Micros(micros) => micros,
            Span::Periods(thousandths) => {
                per / 1_000 * thousandths + per % 1_000 * thousandths / 1_000
            }
            Span::Retry(less) => match self.last.retry {
                Retry::After(wait) => wait.0.div_ceil(1_000).saturating_sub(less),
                Retry::Unenforced(_) | Retry::Now | Retry::Never => 0,
            },
            Span::Reset(less) => self.last.reset_after.0.div_ceil(1_000).saturating_sub(less),
        }
    }
}

#[test]
fn redis_answers_as_memory_does() {
    for limiter in RedisLimiter::each(&[]) {
        let limiter = RefCell::new(limiter);
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
            let limiter = &mut *limiter.borrow_mut();
            let limits: Vec<(Tag, Limit)> = (0..).zip(limits).collect();
            limiter.run::<()>(&["FLUSHALL"]);
            limiter.open("law", &limits);
            let mut pair = Pair {
                memory: Rig::new(&limits),
                limiter,
                former: vec![Vec::new(); limits.len()],
                limits,
                now: start,
                last: Usage {
                    max: 1,
                    remaining: 1,
                    next_after: Nanos(0),
                    reset_after: Nanos(0),
                    retry: Retry::Now,
                },
                exceeds_script: false,
                batch: Vec::new(),
                expected: Vec::new(),
            };
            for step in &steps {
                pair.step(step)?;
                if pair.exceeds_script {
                    return Ok(());
                }
            }
            pair.send()
        };
        if let Err(failure) = runner.run(&histories, law) {
            panic!("{failure}\n{runner}");
        }
    }
}
