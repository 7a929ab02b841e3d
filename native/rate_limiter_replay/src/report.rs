//! The report of one limit on a log.

use crate::ids::Ids;
use crate::judge::{Denials, Judge};
use crate::key;
use crate::kinds::Kind;
use crate::marks::Marks;
use crate::timeline::{Decisions, Timeline};

/// The decisions of one limit on all requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReport {
    /// Admitted and denied requests in total.
    pub totals: Decisions,
    /// How many ids were denied at least once.
    pub ids_denied: u64,
    /// The ids that were denied most often, most denied first; then with more requests, then the earlier id.
    pub top: Vec<TopId>,
    /// By hour of the day, 0 to 23, on the clock of the log.
    pub hours: [Decisions; 24],
    /// The width of each of `columns`, in seconds.
    pub column_seconds: i64,
    /// Admitted and denied over time, without gaps.
    pub columns: Vec<TimeColumn>,
    /// For each field of [`Schema::about`](crate::Schema::about), the values that were denied most often.
    pub kinds: Vec<Vec<Kind>>,
}

/// An id that was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopId {
    /// Its parts; `None` for a part that its lines do not have.
    pub parts: Vec<Option<Vec<u8>>>,
    /// The number of its requests.
    pub requests: u64,
    /// How many of them were denied.
    pub denied: u64,
    /// The longest wait of a denial, in nanoseconds; `None` (forever) if a cost was above the maximum.
    pub longest_wait_ns: Option<u64>,
    /// The decisions about it over the span of the log, in columns of equal width; empty if requests were not kept.
    pub marks: Vec<Decisions>,
}

/// One stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeColumn {
    /// Its start, in seconds since 1970.
    pub start_seconds: i64,
    /// The decisions in it.
    pub counts: Decisions,
}

impl LimitReport {
    /// `kinds` are those that were denied most often.
    pub(crate) fn new(
        judge: &Judge,
        (ids, requests): (&Ids, &[u64]),
        top: usize,
        mut marks: Option<Marks>,
        kinds: Vec<Vec<Kind>>,
    ) -> Self {
        let mut denied: Vec<(u32, Denials)> = (0u32..)
            .zip(judge.denials().iter().copied())
            .filter(|(_, denials)| denials.count > 0)
            .collect();
        let ids_denied = denied.len() as u64;
        let rank = |&(id, denials): &(u32, Denials)| {
            let requests = requests[id as usize];
            (std::cmp::Reverse((denials.count, requests)), id)
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
                .map(|(id, denials)| TopId {
                    marks: marks.as_mut().map_or(Vec::new(), |marks| marks.of(id)),
                    ..TopId::new(ids.key(id), requests[id as usize], denials)
                })
                .collect(),
            hours: *judge.hours(),
            column_seconds: judge.timeline().map_or(0, Timeline::width_seconds),
            columns: columns(judge),
            kinds,
        }
    }
}

impl TopId {
    fn new(key: &[u8], requests: u64, denials: Denials) -> Self {
        let parts = key::parts(key);
        Self {
            parts: parts
                .into_iter()
                .map(|part| part.map(<[u8]>::to_vec))
                .collect(),
            requests,
            denied: denials.count,
            longest_wait_ns: (denials.longest_wait != Denials::NEVER)
                .then_some(denials.longest_wait),
            marks: Vec::new(),
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
