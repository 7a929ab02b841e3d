//! Nodes that judge one key by different limits, as during a deployment or between two calls of `update_limit`.
//!
//! Each limit counts what all nodes have admitted, from its first call on. So two things hold for random histories of
//! up to five limits. The script answers as the naive definition below: a state for each limit. And independent of
//! how anything is counted, no stretch of time has more than the limits allow.

#![allow(clippy::cast_precision_loss)] // of numbers that are small enough

use std::cell::RefCell;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use rate_limiter_core::{Algorithm, Limit, Nanos, Retry, Tag, Usage};
use rate_limiter_distributed::{Charge, Op, Reply};

use crate::fixture::{allowed, limits as fixture_limits, SECOND, START};
use crate::model::{Window, ONE};
use crate::redis_limiter::RedisLimiter;

const CASES: u32 = 200;
const HOUR: u64 = 3_600 * SECOND;
const MOST_LIMITS: usize = 4;
/// What a log keeps for a limit that is not known.
const MOST_OF_LOGS: u64 = 10_000;

/// One limit of a key, and its state.
#[derive(Clone)]
struct Known {
    limit: Limit,
    window: Window,
    /// When it was asked last.
    seen: u64,
    /// When it was first asked beside another one. Its largest amount is unknown before.
    since: Option<u64>,
}

/// A key: its limits, that of the last call first.
#[derive(Default)]
struct Several {
    known: Vec<Known>,
    most: u64,
}

/// Whether two limits have one state.
fn shares_state(one: &Limit, other: &Limit) -> bool {
    let per = |limit: &Limit| limit.per().as_nanos();
    match (one.algorithm(), other.algorithm()) {
        (Algorithm::TokenBucket { .. }, _) => {
            per(one) * u128::from(other.limit()) == per(other) * u128::from(one.limit())
        }
        (one_algorithm, other_algorithm) => {
            per(one) == per(other) && one_algorithm == other_algorithm
        }
    }
}

/// How long usage counts, in nanoseconds.
fn span(limit: &Limit) -> u64 {
    let per = u64::try_from(limit.per().as_nanos()).expect("a short period");
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => per / limit.limit() * limit.capacity(),
        Algorithm::SlidingWindow { sub_windows } => per + per / u64::from(sub_windows),
        _ => per,
    }
}

impl Known {
    fn is_forgotten(&self, now: u64) -> bool {
        self.seen + self.kept() <= now
    }

    fn kept(&self) -> u64 {
        let is_bucket = matches!(self.limit.algorithm(), Algorithm::TokenBucket { .. });
        let per_token = self.limit.per().as_nanos() / u128::from(self.limit.limit());
        match self.since {
            None if is_bucket => HOUR.max(u64::try_from(per_token).expect("a short period")),
            _ => HOUR.max(span(&self.limit)),
        }
    }

    fn grow(&mut self, now: u64, cost: u64, most: u64) {
        // An unknown limit may be as small as it can be.
        let max = self.since.map_or(0, |_| self.limit.limit());
        self.window.grow(now, cost, max);
        if matches!(self.limit.algorithm(), Algorithm::SlidingLog) {
            let unknown = if self.since.is_none() {
                MOST_OF_LOGS
            } else {
                0
            };
            let excess = self.window.used(now).saturating_sub(most.max(unknown));
            self.window.refund(now, excess);
        }
    }
}

impl Several {
    fn call(&mut self, now: u64, limit: &Limit, op: Op, cost: u64) -> Usage {
        if self.known.iter().all(|known| known.window.is_unused(now)) {
            *self = Self::default();
        }
        let is_single = self.known.len() <= 1;
        let found = self
            .known
            .iter()
            .position(|known| shares_state(&known.limit, limit));
        let mut others = self.known.clone();
        let mut is_written = found.is_none() && !self.known.is_empty();
        let mut own = if let Some(at) = found {
            others.remove(at)
        } else {
            let last = self.known.first();
            Known {
                limit: limit.clone(),
                window: last.map_or_else(|| Window::new(limit), |last| last.window.clone()),
                seen: now,
                since: None,
            }
        };
        if let (true, None, Some(other)) = (is_single, found, others.first_mut()) {
            self.most = other.window.used(now);
            other.seen = now;
        }
        others.retain(|other| !other.is_forgotten(now));
        let most = self.most.max(limit.capacity());
        own.window.touch(limit, now);
        own.limit = limit.clone();
        let stays_single = is_single && (found.is_some() || self.known.is_empty());
        if !stays_single {
            own.window.bound(now, most);
            own.since = own.since.or(Some(now));
            is_written |= now - own.seen > own.kept() / 2;
        }
        if others.len() == MOST_LIMITS {
            let spans = others.iter().map(span_as_stored).enumerate();
            let shortest = spans.min_by_key(|(_, span)| *span).expect("some").0;
            others.remove(shortest);
        }
        let usage = own.window.ask(now, cost, ONE);
        match op {
            Op::Take if cost > 0 && usage.allowed() => {
                own.window.take(now, cost, ONE);
                for other in &mut others {
                    other.grow(now, cost, most);
                }
                is_written = true;
            }
            Op::Refund if cost > 0 => {
                own.window.refund(now, cost);
                for other in &mut others {
                    other.window.refund(now, cost);
                }
                is_written = true;
            }
            _ => (),
        }
        let usage = match op {
            Op::Refund => own.window.ask(now, 0, ONE),
            _ => usage,
        };
        if is_written {
            if others.is_empty() {
                own.since = None;
            }
            own.seen = now;
            others.insert(0, own);
            self.known = others;
            self.most = most;
        }
        usage
    }
}

fn span_as_stored(known: &Known) -> u64 {
    match (known.since, known.limit.algorithm()) {
        (None, Algorithm::TokenBucket { .. }) => span(&known.limit) / known.limit.capacity(),
        _ => span(&known.limit),
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A node, an operation, and a cost.
    Call(usize, Op, u64),
    /// Many calls of a node with a cost of 1, so much apart: thousandths of its period.
    Flood(usize, u64, u64),
    /// Thousandths of the period of a node's limit.
    Wait(usize, u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let ops = prop_oneof![
        12 => Just(Op::Take), 2 => Just(Op::Peek), 1 => Just(Op::Refund), 1 => Just(Op::Reset)
    ];
    prop_oneof![
        6 => (0..5_usize, ops, 0..5_u64).prop_map(|(node, op, cost)| Step::Call(node, op, cost)),
        2 => (0..5_usize, 1..30_u64, 0..400_u64)
            .prop_map(|(node, times, apart)| Step::Flood(node, times, apart)),
        4 => (0..5_usize, 0..1_500_u64).prop_map(|(node, wait)| Step::Wait(node, wait)),
    ]
}

/// Up to five limits of one algorithm. Milliseconds, since other periods are rounded.
fn limits() -> impl Strategy<Value = Vec<Limit>> {
    let periods = || select(vec![400_u64, 1_000, 1_200, 4_000, 60_000, 14_400_000]);
    let amounts = || prop_oneof![1..=10_u64, 15..=40_u64];
    let rates = (select(vec![1_u64, 2, 5, 10, 50]), periods(), 1..=40_u64);
    let sub_windows = || select(vec![1_u32, 2, 4, 10]);
    let windows = (amounts(), periods(), sub_windows()).prop_map(|(limit, per, sub_windows)| {
        of(limit, per, Algorithm::SlidingWindow { sub_windows })
    });
    let logs =
        (amounts(), periods()).prop_map(|(limit, per)| of(limit, per, Algorithm::SlidingLog));
    let fixed = (amounts(), periods(), any::<bool>())
        .prop_map(|(limit, per, aligned)| of(limit, per, Algorithm::FixedWindow { aligned }));
    let buckets = rates.prop_map(|(limit, per, burst)| {
        of(limit, per, Algorithm::TokenBucket { burst: Some(burst) })
    });
    prop_oneof![
        vec(buckets, 2..=5),
        vec(windows, 2..=5),
        vec(logs, 2..=5),
        vec(fixed, 2..=5),
    ]
}

fn of(limit: u64, per_ms: u64, algorithm: Algorithm) -> Limit {
    Limit::new(limit, Duration::from_millis(per_ms), algorithm)
}

/// What was admitted, and the limits by which: knows nothing of states.
#[derive(Default)]
struct Admitted {
    /// Moment, units, and the number of the limit.
    uses: Vec<(u64, u64, usize)>,
    limits: Vec<Limit>,
}

impl Admitted {
    /// Checks every stretch that ends with a use under this limit, and began after the key knew all its limits. A limit with
    /// the period of another one has its state, but before its own first call a log keeps no more than the others admit.
    fn add(
        &mut self,
        now: u64,
        cost: u64,
        limit: &Limit,
        known: &[Known],
    ) -> Result<(), TestCaseError> {
        let number = self.limits.iter().position(|known| known == limit);
        let number = number.unwrap_or_else(|| {
            self.limits.push(limit.clone());
            self.limits.len() - 1
        });
        self.uses.push((now, cost, number));
        let own = known
            .iter()
            .find(|known| known.limit == *limit)
            .and_then(|known| known.since);
        let own = own.and_then(|since| {
            let mut uses = self.uses.iter();
            uses.position(|(at, _, by)| *by == number && *at >= since)
        });
        let all: Option<Vec<u64>> = known.iter().map(|known| known.since).collect();
        let all = all.and_then(|all| all.into_iter().max());
        let per_of = |limit: &Limit| limit.per().as_nanos() as f64;
        let mut sum = 0;
        for (place, &(at, units, _)) in self.uses.iter().enumerate().rev() {
            sum += units;
            let long = (now - at) as f64;
            let is_window = !matches!(
                limit.algorithm(),
                Algorithm::TokenBucket { .. } | Algorithm::FixedWindow { .. }
            );
            if is_window && own.is_some_and(|own| own <= place) && long < per_of(limit) {
                prop_assert!(sum <= limit.limit(), "{sum} in {long} ns by {limit:?}");
            }
            if all.is_none_or(|all| at < all) {
                continue;
            }
            let rate = |limit: &Limit| limit.limit() as f64 / per_of(limit);
            let of_each = self
                .limits
                .iter()
                .map(|limit| limit.capacity() as f64 + long * rate(limit));
            let largest = self.limits.iter().map(Limit::capacity).max().unwrap_or(0) as f64;
            let fastest = self.limits.iter().map(rate).fold(0.0, f64::max);
            let bound = match limit.algorithm() {
                Algorithm::TokenBucket { .. } => of_each.fold(0.0, f64::max),
                // It admits twice its limit around a boundary.
                Algorithm::FixedWindow { .. } => 2.0 * largest + long * fastest,
                _ => largest + long * fastest,
            };
            prop_assert!(
                sum as f64 <= bound + 0.001,
                "{sum} of {bound} in {long} ns, {:?}",
                self.limits
            );
        }
        Ok(())
    }
}

/// Whether a usage is the expected one, but for times that the script has rounded up to microseconds: a bucket's state at
/// each change to another rate.
fn is_rounded(usage: &Usage, expected: &Usage) -> bool {
    let later = |is: Nanos, exact: Nanos| (exact.0..exact.0 + 1_000).contains(&is.0);
    let retry = match (usage.retry, expected.retry) {
        (Retry::After(is), Retry::After(exact)) => later(is, exact),
        (is, exact) => is == exact,
    };
    retry
        && (usage.max, usage.remaining) == (expected.max, expected.remaining)
        && later(usage.next_after, expected.next_after)
        && later(usage.reset_after, expected.reset_after)
}

fn history(
    limiter: &mut RedisLimiter,
    limits: &[Limit],
    steps: &[Step],
) -> Result<(), TestCaseError> {
    const TAG: Tag = 0;
    limiter.run::<()>(&["FLUSHALL"]);
    limiter.open("several", &[(TAG, limits[0].clone())]);
    let (mut now, mut model, mut admitted) = (START, Several::default(), Admitted::default());
    let mut calls = Vec::new();
    for step in steps {
        match *step {
            Step::Call(node, op, cost) => calls.push((0, node, op, cost)),
            Step::Flood(node, times, apart) => {
                let per = span(&limits[node % limits.len()]) / 1_000 * apart / 1_000 * 1_000;
                calls.extend((0..times).map(|_| (per, node, Op::Take, 1)));
            }
            Step::Wait(node, wait) => {
                let per =
                    u64::try_from(limits[node % limits.len()].per().as_micros()).expect("short");
                calls.push((per * wait / 1_000 * 1_000, node, Op::Peek, 1));
            }
        }
    }
    for (wait, node, op, cost) in calls {
        now += wait;
        let limit = &limits[node % limits.len()];
        limiter.update(TAG, limit);
        let call = limiter.build(op, "ann", &[TAG], cost);
        let reply = limiter.send_one(now, &call);
        if op == Op::Reset {
            (model, admitted) = (Several::default(), Admitted::default());
            continue;
        }
        let expected = model.call(now, limit, op, cost);
        let usage = reply.windows[0].usage;
        prop_assert!(
            is_rounded(&usage, &expected),
            "{op:?} {cost} by {limit:?} at {now}: {usage:?} instead of {expected:?}"
        );
        match op {
            Op::Refund => admitted.uses.clear(),
            Op::Take if cost > 0 && allowed(&reply) => {
                admitted.add(now, cost, limit, &model.known)?;
            }
            _ => (),
        }
    }
    Ok(())
}

#[test]
fn no_stretch_has_more_than_the_limits_of_all_nodes_allow() {
    for limiter in RedisLimiter::each(&[]) {
        let limiter = RefCell::new(limiter);
        let config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |_| config.cases);
        let mut runner = TestRunner::new(ProptestConfig { cases, ..config });
        let law = |(limits, steps): (Vec<Limit>, Vec<Step>)| {
            history(&mut limiter.borrow_mut(), &limits, &steps)
        };
        if let Err(failure) = runner.run(&(limits(), vec(steps(), 1..60)), law) {
            panic!("{failure}\n{runner}");
        }
    }
}

fn take(limiter: &mut RedisLimiter, limit: &Limit, now: u64, cost: u64) -> Reply {
    limiter.update(0, limit);
    limiter.take(now, 0, cost)
}

#[test]
fn a_shorter_period_of_another_node_gives_nothing_back() {
    for (_, limit) in fixture_limits() {
        let long = Limit::new(900, Duration::from_mins(1), limit.algorithm());
        let short = Limit::new(15, Duration::from_secs(1), limit.algorithm());
        let mut limiter = RedisLimiter::new(&[(0, long.clone())]);
        let mut admitted = 0;
        for round in 0..6 {
            let now = START + round * 1_200_000_000;
            admitted += 870 * u64::from(allowed(&take(&mut limiter, &long, now, 870)));
            take(&mut limiter, &short, now, 1);
        }
        assert_eq!(admitted, 870, "{limit:?}");
    }
}

#[test]
fn usage_that_a_node_reports_counts_under_each_limit() {
    for (_, limit) in fixture_limits() {
        let other = Limit::new(20, Duration::from_secs(7), limit.algorithm());
        let mut limiter = RedisLimiter::new(&[(0, other.clone())]);
        let four = limiter.send_one(START, &limiter.build(Op::Take, "bob", &[0], 4));
        let four = four.windows[0].state.clone();
        take(&mut limiter, &limit, START, 1);
        take(&mut limiter, &other, START, 1);
        for (charge, remaining) in [
            // It has two already, so two of the four are missing.
            (
                Charge {
                    at_least: Some(four.clone()),
                    since: Nanos(START),
                    ..Charge::default()
                },
                [16, 6],
            ),
            (
                Charge {
                    taken: Some(four.clone()),
                    until: Nanos(START),
                    ..Charge::default()
                },
                [12, 2],
            ),
        ] {
            let mut call = limiter.build(Op::Take, "ann", &[0], 0);
            call.windows[0].charge = Some(charge);
            let here = limiter.send_one(START, &call).windows[0].usage.remaining;
            let there = take(&mut limiter, &limit, START, 0).windows[0]
                .usage
                .remaining;
            assert_eq!([here, there], remaining, "{limit:?}");
            limiter.update(0, &other);
        }
    }
}

#[test]
fn a_key_has_one_state_again_when_a_limit_is_not_asked_any_more() {
    for (_, limit) in fixture_limits() {
        let other = Limit::new(9, Duration::from_secs(7), limit.algorithm());
        let mut limiter = RedisLimiter::new(&[(0, limit.clone())]);
        let size = |limiter: &mut RedisLimiter| -> usize {
            let key = limiter.key(0);
            limiter.run(&["STRLEN", &key])
        };
        take(&mut limiter, &limit, START, 1);
        let one = size(&mut limiter);
        take(&mut limiter, &other, START, 1);
        assert!(size(&mut limiter) > 2 * one, "{limit:?}");
        // For an hour, so often that both limits always count something.
        for number in 1..=4_002 {
            take(&mut limiter, &limit, START + number * SECOND * 9 / 10, 1);
        }
        let key = limiter.key(0);
        let value: Vec<u8> = limiter.run(&["GET", &key]);
        assert_ne!(value[0], 255, "{limit:?}");
    }
}
