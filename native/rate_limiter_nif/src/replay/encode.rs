//! The results of a replay as maps.

use rate_limiter_core::{Algorithm, Limit};
use rate_limiter_replay::{
    with_limit, Broken, Decisions, Fit, Kind, LimitReport, LineError, Moment, Replay, TopId,
};
use rustler::{Env, NifMap, Term};

use crate::binary::binary;

atom_enum!(ReasonTerm <= LineError {
    TooLong = TooLong,
    Shape = Shape,
    Time = Time,
    Request = Request,
    Status = Status,
    Json = Json,
    NoTime = NoTime,
    Nested = Nested,
    Cost = Cost,
    NoField = NoField,
    TooManyIds = TooManyIds,
    Utf16 = Utf16,
    CarriageReturns = CarriageReturns,
});

type CountsTerm = (u64, u64);

#[derive(NifMap)]
pub(super) struct InputTerm<'a> {
    lines: u64,
    blank: u64,
    requests: u64,
    without_id: u64,
    late: u64,
    first_late: Option<(usize, u64)>,
    broken: u64,
    /// `{log, line, reason, text}`
    first_broken: Vec<(usize, u64, ReasonTerm, Term<'a>)>,
    ids: usize,
    /// Nanoseconds since 1970 and minutes east of UTC.
    first: Option<(u64, i16)>,
    last: Option<(u64, i16)>,
    zone_minutes: Option<i16>,
    mixed_zones: bool,
    /// Requests later, and earlier, than the one before them.
    steps: (u64, u64),
    /// `{name, value}` of the first line that lacks one.
    first_fields: Vec<(String, String)>,
    /// `{name, requests}`
    layouts: Vec<(&'a str, u64)>,
    /// `{not_addresses, lists, ports, first | nil}`, numbers of ids.
    suspects: (u64, u64, u64, Option<Term<'a>>),
}

#[derive(NifMap)]
pub(super) struct OutcomeTerm<'a> {
    admitted: u64,
    denied: u64,
    ids_denied: u64,
    /// `{parts, requests, denied, longest_wait_ns | nil, marks}`, each mark `{admitted, denied}`
    top: Vec<TopTerm<'a>>,
    hours: Vec<CountsTerm>,
    column_seconds: i64,
    /// `{start_seconds, admitted, denied}`
    columns: Vec<(i64, u64, u64)>,
    /// For each further field, `{value | nil, requests, denied}`
    kinds: Vec<Vec<KindTerm<'a>>>,
}

/// A limit and its burst.
type LimitTerm = (u64, Option<u64>);

#[derive(NifMap)]
pub(super) struct FitTerm {
    smallest: Vec<Option<LimitTerm>>,
    /// `{limit, ids_denied, requests_denied}`
    curve: Vec<(u64, u64, u64)>,
}

impl<'a> InputTerm<'a> {
    pub(super) fn new(env: Env<'a>, replay: &Replay) -> Self {
        let input = replay.input();
        let suspects = replay.suspects();
        let first_suspect = suspects.first.map(|text| binary(env, &text));
        let moment = |moment: Moment| (moment.unix_ns, moment.offset_minutes);
        let broken = input.first_broken.iter().map(|line| broken(env, line));
        Self {
            lines: input.lines,
            blank: input.blank,
            requests: input.requests,
            without_id: input.without_id,
            late: input.late,
            first_late: input.first_late,
            broken: input.broken,
            first_broken: broken.collect(),
            ids: replay.ids(),
            first: input.span.map(|(first, _)| moment(first)),
            last: input.span.map(|(_, last)| moment(last)),
            zone_minutes: input.zone_minutes(),
            mixed_zones: input.mixed_zones,
            steps: input.steps,
            first_fields: input.first_fields.clone(),
            layouts: input.layouts().collect(),
            suspects: (
                suspects.not_addresses,
                suspects.lists,
                suspects.ports,
                first_suspect,
            ),
        }
    }
}

impl<'a> OutcomeTerm<'a> {
    pub(super) fn new(env: Env<'a>, report: &LimitReport) -> Self {
        let columns = report.columns.iter().map(|column| {
            let (admitted, denied) = counts(&column.counts);
            (column.start_seconds, admitted, denied)
        });
        let top = report.top.iter().map(|id| top_id(env, id));
        Self {
            admitted: report.totals.admitted,
            denied: report.totals.denied,
            ids_denied: report.ids_denied,
            top: top.collect(),
            hours: report.hours.iter().map(counts).collect(),
            column_seconds: report.column_seconds,
            columns: columns.collect(),
            kinds: report
                .kinds
                .iter()
                .map(|kinds| of_field(env, kinds))
                .collect(),
        }
    }
}

impl FitTerm {
    pub(super) fn new(stated: &Limit, fit: &Fit) -> Self {
        let with_burst = |limit| {
            let other = with_limit(stated, limit);
            let is_bucket = matches!(other.algorithm(), Algorithm::TokenBucket { .. });
            (limit, is_bucket.then_some(other.capacity()))
        };
        let curve = fit.curve.iter();
        Self {
            smallest: fit
                .smallest
                .iter()
                .map(|limit| limit.map(with_burst))
                .collect(),
            curve: curve
                .map(|point| (point.limit, point.ids_denied, point.requests_denied))
                .collect(),
        }
    }
}

fn counts(counts: &Decisions) -> CountsTerm {
    (counts.admitted, counts.denied)
}

fn broken<'a>(env: Env<'a>, line: &Broken) -> (usize, u64, ReasonTerm, Term<'a>) {
    let text = binary(env, &line.text);
    (line.log, line.line, line.error.into(), text)
}

type KindTerm<'a> = (Option<Term<'a>>, u64, u64);

fn of_field<'a>(env: Env<'a>, kinds: &[Kind]) -> Vec<KindTerm<'a>> {
    let value = |kind: &Kind| kind.value.as_ref().map(|value| binary(env, value));
    let kinds = kinds.iter();
    kinds
        .map(|kind| (value(kind), kind.requests, kind.denied))
        .collect()
}

type TopTerm<'a> = (
    Vec<Option<Term<'a>>>,
    u64,
    u64,
    Option<u64>,
    Vec<CountsTerm>,
);

fn top_id<'a>(env: Env<'a>, id: &TopId) -> TopTerm<'a> {
    let parts = id
        .parts
        .iter()
        .map(|part| part.as_ref().map(|part| binary(env, part)));
    let parts = parts.collect();
    let marks = id.marks.iter().map(counts).collect();
    (parts, id.requests, id.denied, id.longest_wait_ns, marks)
}
