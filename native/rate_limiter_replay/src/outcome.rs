//! What one limit did.

use crate::ids::Ids;
use crate::judge::{Denials, Judge};
use crate::record::key_parts;
use crate::timeline::{Counts, Timeline};

/// What one limit did to all requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Admitted and denied in all.
    pub totals: Counts,
    /// How many ids were denied at least once.
    pub ids_denied: u64,
    /// The ids that were denied most often, most denied first; then who asked more, then who came first.
    pub top: Vec<TopId>,
    /// By hour of the day, 0 to 23, on the log's own clock.
    pub hours: [Counts; 24],
    /// How long a column of `columns` is, in seconds.
    pub column_seconds: i64,
    /// Admitted and denied over time, without gaps.
    pub columns: Vec<TimeColumn>,
}

/// An id that was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopId {
    /// Its parts; `None` for one that its lines do not have.
    pub parts: Vec<Option<Vec<u8>>>,
    /// How often it asked.
    pub requests: u64,
    /// How often it was denied.
    pub denied: u64,
    /// The longest that it was told to wait, in nanoseconds; `None` if a cost was above the maximum: for ever.
    pub longest_wait_ns: Option<u64>,
}

/// One stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeColumn {
    /// When it begins, in seconds since 1970.
    pub start_seconds: i64,
    /// What happened in it.
    pub counts: Counts,
}

impl Outcome {
    pub(crate) fn new(judge: &Judge, ids: &Ids, requests: &[u64], top: usize) -> Self {
        let mut denied: Vec<(u32, Denials)> = (0u32..)
            .zip(judge.denials().iter().copied())
            .filter(|(_, denials)| denials.count > 0)
            .collect();
        let ids_denied = denied.len() as u64;
        let rank = |&(id, denials): &(u32, Denials)| {
            let asked = requests[id as usize];
            (std::cmp::Reverse((denials.count, asked)), id)
        };
        if top > 0 && top < denied.len() {
            denied.select_nth_unstable_by_key(top - 1, rank);
        }
        denied.truncate(top);
        denied.sort_unstable_by_key(rank);
        Self {
            totals: judge.totals(),
            ids_denied,
            top: denied
                .into_iter()
                .map(|(id, denials)| TopId::new(ids.key(id), requests[id as usize], denials))
                .collect(),
            hours: *judge.hours(),
            column_seconds: judge.timeline().map_or(0, Timeline::width_seconds),
            columns: columns(judge),
        }
    }
}

impl TopId {
    fn new(key: &[u8], requests: u64, denials: Denials) -> Self {
        let parts = key_parts(key);
        Self {
            parts: parts
                .into_iter()
                .map(|part| part.map(<[u8]>::to_vec))
                .collect(),
            requests,
            denied: denials.count,
            longest_wait_ns: (denials.longest_wait != Denials::NEVER)
                .then_some(denials.longest_wait),
        }
    }
}

fn columns(judge: &Judge) -> Vec<TimeColumn> {
    let Some((timeline, start)) = judge
        .timeline()
        .and_then(|line| Some((line, line.start_seconds()?)))
    else {
        return Vec::new();
    };
    (0i64..)
        .zip(timeline.columns())
        .map(|(at, &counts)| TimeColumn {
            start_seconds: start + at * timeline.width_seconds(),
            counts,
        })
        .collect()
}
