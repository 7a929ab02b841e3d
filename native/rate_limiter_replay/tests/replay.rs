//! Replays of small logs, compared with results by hand or by exhaustive search.

use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Limit};
use rate_limiter_replay::{
    with_limit, ClfField, Decisions, Format, LineError, Options, Part, Replay, Schema,
};

const MINUTE: Duration = Duration::from_mins(1);

fn schema() -> Schema {
    Schema {
        format: Format::Auto,
        time: vec!["time".to_owned()],
        time_unit: None,
        key: vec![Part {
            clf: Some(ClfField::Ip),
            json: vec!["ip".to_owned()],
        }],
        cost: Some(Part {
            clf: Some(ClfField::Bytes),
            json: vec!["cost".to_owned()],
        }),
        about: vec![
            Part {
                clf: Some(ClfField::Path),
                json: vec!["path".to_owned()],
            },
            Part {
                clf: Some(ClfField::Status),
                json: vec!["status".to_owned()],
            },
        ],
    }
}

fn without_cost() -> Schema {
    Schema {
        cost: None,
        ..schema()
    }
}

fn replay(limits: &[Limit], schema: Schema, log: &str) -> Replay {
    let mut replay = Replay::new(limits, schema, Options::default()).expect("limits");
    let number = replay.open();
    replay.feed(number, log.as_bytes());
    replay.close(number);
    replay
}

/// Requests as lines: second, id, cost.
fn lines(requests: &[(u64, u8, u64)]) -> String {
    let mut log = String::new();
    for (second, id, cost) in requests {
        let time = 1_431_857_100 + second;
        writeln!(log, r#"{{"time":{time},"ip":"{id}","cost":{cost}}}"#).expect("a string");
    }
    log
}

#[test]
fn the_paths_and_statuses_of_denied_requests_are_counted() {
    let log = r#"10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1
10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a?page=2 HTTP/1.1" 404 1
10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /b HTTP/1.1" 200 1
{"time":1431857103,"ip":"10.0.0.1"}
10.0.0.2 - - [17/May/2015:10:05:03 +0000] "GET /b HTTP/1.1" 200 1
"#;
    let mut replay = replay(&[Limit::token_bucket(1, MINUTE)], without_cost(), log);
    let report = replay.report(0, 10);
    let found = |field: usize| -> Vec<(Option<&str>, u64, u64)> {
        let kinds = report.kinds[field].iter();
        kinds
            .map(|kind| {
                let value = kind.value.as_deref().map(std::str::from_utf8);
                (value.transpose().expect("text"), kind.requests, kind.denied)
            })
            .collect()
    };
    assert_eq!(
        found(0),
        [(Some("/a"), 2, 1), (Some("/b"), 2, 1), (None, 1, 1)]
    );
    assert_eq!(
        found(1),
        [(Some("200"), 3, 1), (None, 1, 1), (Some("404"), 1, 1)]
    );
}

fn limits() -> impl Strategy<Value = Limit> {
    let limit = (1u64..12, 1u64..200);
    let algorithm = prop_oneof![
        Just(Algorithm::TokenBucket { burst: None }),
        (5u64..30).prop_map(|burst| Algorithm::TokenBucket { burst: Some(burst) }),
        (1u32..20).prop_map(|sub_windows| Algorithm::SlidingWindow { sub_windows }),
        Just(Algorithm::SlidingLog),
        any::<bool>().prop_map(|aligned| Algorithm::FixedWindow { aligned }),
    ];
    (limit, algorithm).prop_map(|((limit, seconds), algorithm)| {
        Limit::new(limit, Duration::from_secs(seconds), algorithm)
    })
}

fn requests() -> impl Strategy<Value = Vec<(u64, u8, u64)>> {
    let steps = prop::collection::vec((0u64..20, 0u8..6, 0u64..4), 1..40);
    steps.prop_map(|steps| {
        let mut now = 0;
        let mut requests = Vec::new();
        for (step, id, cost) in steps {
            now += step;
            requests.push((now, id, cost));
        }
        requests
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_marks_of_an_id_are_its_decisions(requests in requests(), limit in limits()) {
        prop_assume!(limit.validate().is_ok());
        let mut replay = replay(&[limit], schema(), &lines(&requests));
        let report = replay.report(0, 10);
        for id in report.top {
            let admitted: u64 = id.marks.iter().map(|mark| mark.admitted).sum();
            let denied: u64 = id.marks.iter().map(|mark| mark.denied).sum();
            prop_assert_eq!((admitted + denied, denied), (id.requests, id.denied));
        }
    }

    /// The fit checks each id alone, without a table; the replay checks all ids by one limiter.
    #[test]
    fn fitting_and_replaying_agree(limit in limits(), requests in requests(), costs: bool) {
        let schema = || if costs { schema() } else { without_cost() };
        let log = lines(&requests);
        let mut stated = replay(std::slice::from_ref(&limit), schema(), &log);
        let shares = [0, 10_000, 200_000, 500_000, 1_000_000];
        let fit = stated.fit(0, &shares);
        let tried: Vec<(u64, u64, u64)> = (1..=300)
            .map(|candidate| {
                let report = replay(&[with_limit(&limit, candidate)], schema(), &log).report(0, 0);
                (candidate, report.ids_denied, report.totals.denied)
            })
            .collect();
        let ids = stated.ids() as u64;
        for (share, smallest) in shares.into_iter().zip(&fit.smallest) {
            let first = tried.iter().find(|(_, denied, _)| *denied <= ids * u64::from(share) / 1_000_000);
            prop_assert_eq!(*smallest, first.map(|first| first.0), "share {}", share);
        }
        for point in &fit.curve {
            let at = usize::try_from(point.limit).unwrap() - 1;
            prop_assert_eq!((point.limit, point.ids_denied, point.requests_denied), tried[at]);
        }
        prop_assert_eq!(fit.curve.last().map(|point| point.requests_denied), Some(0));
    }

    /// Neither the sizes of chunks nor the split of lines into two logs changes a result.
    #[test]
    fn chunks_and_logs_do_not_matter(limit in limits(), requests in requests(), size in 1usize..50) {
        let log = lines(&requests);
        let mut whole = replay(std::slice::from_ref(&limit), schema(), &log);
        let mut pieces = Replay::new(std::slice::from_ref(&limit), schema(), Options::default()).unwrap();
        let logs = [pieces.open(), pieces.open()];
        // Ids 0 to 2 in one log, 3 to 5 in the other: two logs never have requests of one id at one time.
        let parts = [0..3, 3..6].map(|ids| {
            let part: Vec<_> = requests.iter().filter(|request| ids.contains(&request.1)).copied().collect();
            lines(&part).into_bytes()
        });
        for (log, part) in logs.into_iter().zip(&parts) {
            for chunk in part.chunks(size) {
                pieces.feed(log, chunk);
            }
            pieces.close(log);
        }
        let (expected, got) = (whole.report(0, 0), pieces.report(0, 0));
        prop_assert_eq!(got.columns, expected.columns);
        prop_assert_eq!(got.hours, expected.hours);
        prop_assert_eq!(got.ids_denied, expected.ids_denied);
    }

    #[test]
    fn no_bytes_panic(log: Vec<u8>, size in 1usize..20) {
        let mut replay = Replay::new(&[Limit::sliding_log(1, MINUTE)], schema(), Options::default()).unwrap();
        let number = replay.open();
        for chunk in log.chunks(size) {
            replay.feed(number, chunk);
        }
        replay.close(number);
        prop_assert_eq!(replay.report(0, 3).totals, Decisions::default());
    }
}

#[test]
fn each_limit_decides_alone() {
    let limits = [
        Limit::token_bucket(2, MINUTE),
        Limit::sliding_log(1, MINUTE),
    ];
    let log = lines(&[(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 2, 1)]);
    let mut replay = replay(&limits, without_cost(), &log);
    let totals = [0, 1].map(|limit| replay.report(limit, 0).totals);
    let (admitted, denied) = (3, 1);
    assert_eq!(totals[0], Decisions { admitted, denied });
    let (admitted, denied) = (2, 2);
    assert_eq!(totals[1], Decisions { admitted, denied });
}

#[test]
fn the_top_ids_are_ranked_and_have_their_longest_wait() {
    let limit = Limit::sliding_log(1, MINUTE);
    // 1 is denied twice, 2 once but with more requests, 3 once, 4 never.
    let log = lines(&[
        (0, 1, 1),
        (10, 1, 1),
        (20, 1, 1),
        (100, 2, 1),
        (159, 2, 1),
        (200, 3, 1),
        (260, 3, 1),
        (261, 3, 1),
        (300, 4, 1),
        (300, 2, 1),
    ]);
    let mut replay = replay(&[limit], without_cost(), &log);
    let report = replay.report(0, 2);
    let top: Vec<_> = report
        .top
        .iter()
        .map(|id| (id.parts.clone(), id.requests, id.denied, id.longest_wait_ns))
        .collect();
    let id = |name: &[u8]| vec![Some(name.to_vec())];
    assert_eq!(
        top,
        [
            (id(b"1"), 3, 2, Some(50_000_000_000)),
            (id(b"2"), 3, 1, Some(1_000_000_000)),
        ]
    );
    assert_eq!(report.ids_denied, 3);
    assert_eq!(replay.ids(), 4);
}

#[test]
fn a_cost_above_the_maximum_waits_forever() {
    let log = lines(&[(0, 1, 5), (1, 1, 4), (2, 1, 0)]);
    let mut replay = replay(&[Limit::token_bucket(4, MINUTE)], schema(), &log);
    let report = replay.report(0, 1);
    assert_eq!(report.totals.admitted, 2);
    assert_eq!(report.top[0].longest_wait_ns, None);
    assert_eq!(replay.fit(0, &[0]).smallest, [Some(9)]);
}

#[test]
fn a_fit_without_a_limit_that_is_high_enough_is_none() {
    let log = lines(&[(0, 1, 10_001), (0, 2, 3)]);
    let mut replay = replay(&[Limit::sliding_log(4, MINUTE)], schema(), &log);
    assert_eq!(replay.fit(0, &[0, 500_000]).smallest, [None, Some(3)]);
}

#[test]
fn a_limit_that_can_only_be_kept_from_some_size_on_is_fitted_from_there() {
    // A bucket must drain in 146 years. In proportion and rounded up, 1, 2 and 3 in eight years come with bursts of
    // 19, 37 and 55, which take longer; 4 with one of 73, which just does not.
    let limit = Limit::token_bucket(100, Duration::from_hours(8 * 365 * 24)).with_burst(1_810);
    let log = lines(&[(0, 1, 1)]);
    let mut replay = replay(&[limit], without_cost(), &log);
    assert_eq!(replay.fit(0, &[0]).smallest, [Some(4)]);
}

#[test]
fn late_lines_are_counted_and_checked_when_they_are_read() {
    let limit = Limit::sliding_log(1, MINUTE);
    let log = lines(&[(0, 1, 1), (1_000, 1, 1), (1_200, 2, 1), (990, 1, 1)]);
    let mut replay = replay(&[limit], without_cost(), &log);
    let input = replay.input();
    assert_eq!((input.requests, input.late), (4, 1));
    assert_eq!(input.first_late, Some((0, 4)));
    let report = replay.report(0, 1);
    assert_eq!(report.totals.denied, 1);
    // Checked at 1,000, which the clock showed: a wait of 60 s, not 70.
    assert_eq!(report.top[0].longest_wait_ns, Some(60_000_000_000));
}

#[test]
fn broken_lines_are_counted_and_the_first_are_kept() {
    let mut log = String::from("\n  \r\n");
    for number in 0..9 {
        writeln!(log, "rubbish {number}").unwrap();
    }
    writeln!(log, "{{\"time\":1500000000}}").unwrap();
    log.push_str(r#"{"time":"x","ip":"a"}"#);
    let replay = replay(&[Limit::sliding_log(1, MINUTE)], schema(), &log);
    let input = replay.input();
    assert_eq!((input.lines, input.blank), (13, 2));
    assert_eq!((input.broken, input.without_id, input.requests), (10, 1, 0));
    assert_eq!(input.first_broken.len(), 5);
    let first = &input.first_broken[0];
    assert_eq!((first.line, first.error), (3, LineError::Shape));
    assert_eq!(first.text, b"rubbish 0");
}

#[test]
fn a_limit_that_cannot_be_kept_is_an_error() {
    let limits = [
        Limit::sliding_log(1, MINUTE),
        Limit::sliding_log(10_001, MINUTE),
    ];
    let error = Replay::new(&limits, schema(), Options::default()).unwrap_err();
    let expected = "limit 1: limit: expected at most 10000 for this algorithm, got: 10001";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_empty_log_is_not_an_error() {
    let mut replay = replay(&[Limit::sliding_log(1, MINUTE)], schema(), "");
    assert!(replay.report(0, 10).columns.is_empty());
    assert!(replay.fit(0, &[0]).smallest.is_empty());
    assert_eq!(replay.input().lines, 0);
}
