//! Inputs of the laws: limits, and histories of calls.

use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use proptest::sample::select;
use rate_limiter_core::{Algorithm, Limit, Retry, Usage};

/// One step of a history, relative to what is known when it is taken.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Check(u64, Windows, Cost),
    Peek(u64, Windows, Cost),
    Refund(u64, Windows, Cost),
    Reset(u64, Windows),
    Wait(Span),
    /// The clock is set back.
    Back(Span),
    Scale(u32),
    /// Changes the limit of the window in this place: its amount, its period and its burst.
    Update(usize, Change),
    /// Turns shadow mode of the window in this place on or off.
    Enforce(usize, bool),
    Sweep,
}

/// The windows, as bits by place; 0 means all.
pub(crate) type Windows = u8;

#[derive(Clone, Debug)]
pub(crate) enum Cost {
    Units(u64),
    /// `remaining` of the last answer, and so much more.
    Left(u64),
    /// The most that can be taken at once, and so much more.
    Max(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Span {
    Nanos(u64),
    /// So many thousandths of the first window's period.
    Periods(u64),
    /// The wait of the last denial, minus so much.
    Retry(u64),
    /// `reset_after` of the last answer, minus so much.
    Reset(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    limit: u64,
    per: u64,
    burst: Option<u64>,
}

/// The default number of histories that each law is tried on.
const CASES: u32 = 1_000;

/// Failures are printed at their shortest, and not kept in a file.
pub(crate) fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(CASES, |_| default.cases),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_global_rejects: u32::MAX,
        ..default
    }
}

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

/// Amounts, some of them with a rate that no nanosecond divides.
fn amounts() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..=20_u64, 1 => select(vec![60, 100, 123_457, 999_999, 1_000_000_001, 3_000_000_000])]
}

fn periods() -> impl Strategy<Value = u64> {
    let usual = vec![SECOND, 10 * SECOND, 60 * SECOND, 3_600 * SECOND, DAY];
    let odd = vec![1, 7, 1_000, 1_000_003, SECOND / 3, 365 * DAY];
    prop_oneof![3 => select(usual), 1 => select(odd)]
}

pub(crate) fn token_buckets() -> impl Strategy<Value = Limit> {
    let bursts = prop_oneof![Just(None), (1..=30_u64).prop_map(Some)];
    let limits = (amounts(), periods(), bursts).prop_map(|(limit, per, burst)| {
        Limit::new(limit, nanos(per), Algorithm::TokenBucket { burst })
    });
    limits.prop_filter("too much for the period", |limit| limit.validate().is_ok())
}

pub(crate) fn sliding_windows() -> impl Strategy<Value = Limit> {
    let sub_windows = prop_oneof![4 => 1..=12_u32, 1 => select(vec![60, 119, 120])];
    (amounts(), periods(), sub_windows).prop_map(|(limit, per, sub_windows)| {
        Limit::new(limit, nanos(per), Algorithm::SlidingWindow { sub_windows })
    })
}

pub(crate) fn sliding_logs() -> impl Strategy<Value = Limit> {
    (1..=20_u64, periods()).prop_map(|(limit, per)| Limit::sliding_log(limit, nanos(per)))
}

pub(crate) fn fixed_windows() -> impl Strategy<Value = Limit> {
    (amounts(), periods(), any::<bool>()).prop_map(|(limit, per, aligned)| {
        Limit::new(limit, nanos(per), Algorithm::FixedWindow { aligned })
    })
}

/// A limit of any algorithm.
pub(crate) fn limits() -> impl Strategy<Value = Limit> {
    prop_oneof![
        token_buckets(),
        sliding_windows(),
        sliding_logs(),
        fixed_windows()
    ]
}

/// A limit of any algorithm, some of them in shadow mode.
pub(crate) fn limits_and_shadows() -> impl Strategy<Value = Limit> {
    (limits(), any::<bool>()).prop_map(|(limit, is_enforced)| limit.enforced(is_enforced))
}

/// The start of a history.
pub(crate) fn starts() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 4 => 0..=u64::MAX / 8]
}

pub(crate) fn costs() -> impl Strategy<Value = Cost> {
    prop_oneof![
        6 => (1..=4_u64).prop_map(Cost::Units),
        1 => select(vec![0, 100, 1 << 31, 1 << 32, 1 << 63, u64::MAX]).prop_map(Cost::Units),
        2 => (0..=1_u64).prop_map(Cost::Left),
        1 => (0..=1_u64).prop_map(Cost::Max),
    ]
}

pub(crate) fn spans() -> impl Strategy<Value = Span> {
    prop_oneof![
        1 => (0..=3_u64).prop_map(Span::Nanos),
        4 => (1..=2_500_u64).prop_map(Span::Periods),
        3 => (0..=1_u64).prop_map(Span::Retry),
        1 => (0..=1_u64).prop_map(Span::Reset),
    ]
}

pub(crate) fn scales() -> impl Strategy<Value = u32> {
    let usual = select(vec![1_000_000, 500_000, 333_333, 100_000]);
    prop_oneof![4 => usual, 1 => 1..=3_000_000_u32]
}

pub(crate) fn changes() -> impl Strategy<Value = Change> {
    let bursts = prop_oneof![Just(None), (1..=30_u64).prop_map(Some)];
    (amounts(), periods(), bursts).prop_map(|(limit, per, burst)| Change { limit, per, burst })
}

/// A history of a few ids.
pub(crate) fn histories() -> impl Strategy<Value = Vec<Step>> {
    collection::vec(steps(3), 1..80)
}

/// A history in which windows also enter and leave shadow mode.
pub(crate) fn shadowed_histories() -> impl Strategy<Value = Vec<Step>> {
    let enforce = (0..3_usize, any::<bool>())
        .prop_map(|(place, is_enforced)| Step::Enforce(place, is_enforced));
    collection::vec(prop_oneof![30 => steps(3), 1 => enforce], 1..80)
}

/// One step of a history of so many ids.
pub(crate) fn steps(ids: u64) -> impl Strategy<Value = Step> {
    let whose = || (0..ids, any::<Windows>(), costs());
    prop_oneof![
        12 => whose().prop_map(|(id, windows, cost)| Step::Check(id, windows, cost)),
        3 => whose().prop_map(|(id, windows, cost)| Step::Peek(id, windows, cost)),
        2 => whose().prop_map(|(id, windows, cost)| Step::Refund(id, windows, cost)),
        1 => (0..ids, any::<Windows>()).prop_map(|(id, windows)| Step::Reset(id, windows)),
        8 => spans().prop_map(Step::Wait),
        1 => spans().prop_map(Step::Back),
        1 => scales().prop_map(Step::Scale),
        1 => (0..3_usize, changes()).prop_map(|(place, change)| Step::Update(place, change)),
        1 => Just(Step::Sweep),
    ]
}

impl Cost {
    pub(crate) fn units(&self, last: &Usage) -> u64 {
        match *self {
            Self::Units(units) => units,
            Self::Left(more) => last.remaining.saturating_add(more),
            Self::Max(more) => last.max.saturating_add(more),
        }
    }
}

impl Span {
    pub(crate) fn nanos(&self, per: Duration, last: &Usage) -> u64 {
        let per = u64::try_from(per.as_nanos()).expect("a period that a limit can have");
        match *self {
            Self::Nanos(nanos) => nanos,
            Self::Periods(thousandths) => {
                per / 1_000 * thousandths + per % 1_000 * thousandths / 1_000
            }
            Self::Retry(less) => match last.retry {
                Retry::After(wait) => wait.0.saturating_sub(less),
                Retry::Unenforced(_) | Retry::Now | Retry::Never => 0,
            },
            Self::Reset(less) => last.reset_after.0.saturating_sub(less),
        }
    }
}

impl Change {
    /// `limit` changed, with a state of the same shape.
    pub(crate) fn of(&self, limit: &Limit) -> Limit {
        let algorithm = match limit.algorithm() {
            Algorithm::TokenBucket { .. } => Algorithm::TokenBucket { burst: self.burst },
            other => other,
        };
        Limit::new(self.limit, nanos(self.per), algorithm).enforced(limit.is_enforced())
    }
}

pub(crate) fn nanos(span: u64) -> Duration {
    Duration::from_nanos(span)
}
