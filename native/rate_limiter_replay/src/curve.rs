//! How many ids and requests are denied, by limit.

use rate_limiter_core::Limit;

use crate::events::ById;
use crate::fit::Fitting;

/// The denials of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The limit tried.
    pub limit: u64,
    /// The ids that it denies at least once.
    pub ids_denied: u64,
    /// The requests that it denies.
    pub requests_denied: u64,
}

/// The denials of limits of one kind, from the smallest to the one that denies nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// For each given share of ids, the smallest limit that denies at most so many; `None` if no limit of this kind
    /// does.
    pub smallest: Vec<Option<u64>>,
    /// Other limits, ascending.
    pub curve: Vec<Point>,
}

/// How many limits between 1 and the highest needed are tried for the curve.
const STEPS: u32 = 24;

const PPM: u128 = 1_000_000;

/// Tries limits like `stated`. `shares_ppm` are shares of ids that may be denied, in parts per million.
pub(crate) fn fit(stated: &Limit, events: &ById, shares_ppm: &[u32]) -> Fit {
    let mut fitting = Fitting::new(stated);
    let needed = fitting.smallest_of_all(events);
    // An id for which no limit is high enough sorts last.
    let mut sorted: Vec<u64> = needed
        .iter()
        .map(|limit| limit.unwrap_or(u64::MAX))
        .collect();
    sorted.sort_unstable();
    let smallest: Vec<Option<u64>> = shares_ppm
        .iter()
        .map(|&share| smallest(&sorted, share))
        .collect();

    let mut limits = steps(sorted.iter().rev().copied().find(|&limit| limit < u64::MAX));
    limits.push(stated.limit());
    limits.extend(smallest.iter().flatten());
    limits.sort_unstable();
    limits.dedup();
    let curve = limits
        .into_iter()
        .map(|limit| Point {
            limit,
            ids_denied: (sorted.len() - sorted.partition_point(|&needed| needed <= limit)) as u64,
            requests_denied: requests_denied(&mut fitting, events, &needed, limit),
        })
        .collect();
    Fit { smallest, curve }
}

/// Returns the smallest limit that is too small for at most this share of the ids. `sorted` is the limit that each
/// needs.
fn smallest(sorted: &[u64], share_ppm: u32) -> Option<u64> {
    let denied = sorted.len() as u128 * u128::from(share_ppm) / PPM;
    let satisfied = sorted.len() - usize::try_from(denied).unwrap_or(0).min(sorted.len());
    match satisfied.checked_sub(1) {
        None => Some(1),
        Some(last) => Some(sorted[last]).filter(|&limit| limit < u64::MAX),
    }
}

/// Returns round numbers from 1 to `highest`, each about the same factor above the one before.
fn steps(highest: Option<u64>) -> Vec<u64> {
    let Some(highest) = highest else {
        return Vec::new();
    };
    let mut steps = vec![1, highest];
    // Exact enough for a choice of round numbers.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    steps.extend((1..STEPS).map(|step| {
        let power = f64::from(step) / f64::from(STEPS);
        round((highest as f64).powf(power) as u64)
    }));
    steps.retain(|&step| (1..=highest).contains(&step));
    steps
}

/// Rounds down to two digits.
fn round(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    number / unit * unit
}

/// Returns how many requests `limit` denies. Only ids that need a higher limit are denied, so only these are checked.
fn requests_denied(
    fitting: &mut Fitting,
    events: &ById,
    needed: &[Option<u64>],
    limit: u64,
) -> u64 {
    let denied = needed
        .iter()
        .enumerate()
        .filter(|(_, needed)| needed.is_none_or(|needed| needed > limit));
    denied
        .map(|(id, _)| fitting.denied(limit, &events.history(id)))
        .sum()
}
