//! Nodes whose clocks say anything: Redis's clock decides, and theirs only measure how long something took.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rate_limiter_core::{Clock, Limit, ManualClock, Nanos, Retry};
use rate_limiter_distributed::{Op, Response, Source, Verdict};

use crate::node::{Node, PATIENCE};
use crate::servers::{until, Server};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: Duration = Duration::from_hours(24);

/// A node and the clock that it goes by.
struct Skewed {
    node: Node,
    clock: Arc<ManualClock>,
    /// How far its clock goes between two of its calls.
    step: Nanos,
}

impl Skewed {
    fn new(server: &Server, limit: &Limit, starts: u64, step: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Nanos(starts)));
        let given = Clock::Manual(Arc::clone(&clock));
        Self {
            node: Node::with_clock(&starts.to_string(), server.endpoint(), limit, given),
            clock,
            step: Nanos(step),
        }
    }

    fn ask(&self, id: &str, op: Op, cost: u64) -> Response {
        self.clock.advance(self.step);
        self.node.ask(id, op, cost)
    }
}

/// Minutes behind and ahead, a machine that woke up in 1970, one that is years ahead; some that go too fast, or stand.
fn skewed(server: &Server, limit: &Limit) -> Vec<Skewed> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Nanos::from(now.expect("it is later than 1970")).0;
    let clocks = [
        (now, SECOND / 1_000),
        (now - 10 * MINUTE, SECOND / 1_000),
        (now + 10 * MINUTE, SECOND / 1_000),
        (0, 0),
        (now + 24 * 3_650 * HOUR, 30 * HOUR),
    ];
    let node = |(starts, step)| Skewed::new(server, limit, starts, step);
    clocks.map(node).into()
}

fn limits() -> [Limit; 4] {
    [
        Limit::token_bucket(20, DAY),
        Limit::sliding_window(20, DAY),
        Limit::sliding_log(20, DAY),
        // Aligned: none of these ends while a test runs.
        Limit::fixed_window(20, Duration::from_hours(24 * 3_000)),
    ]
}

#[test]
fn nodes_of_whatever_clocks_admit_the_limit_together_and_not_one_more() {
    for limit in limits() {
        let server = Server::start();
        let nodes = skewed(&server, &limit);
        let mut admitted = 0;
        for turn in 0..60 {
            let node = &nodes[turn % nodes.len()];
            let outcome = node.ask("somebody", Op::Take, 1);
            assert_eq!(outcome.source, Source::Authority);
            // The first are admitted, and no clock that runs ahead makes room for another.
            let expected = if turn < 20 {
                Verdict::Allowed
            } else {
                Verdict::Denied
            };
            assert_eq!(outcome.verdict, expected, "{limit:?}, call {turn}");
            admitted += u64::from(outcome.verdict == Verdict::Allowed);
        }
        assert_eq!(admitted, 20, "{limit:?}");
    }
}

#[test]
fn all_nodes_are_told_the_same_time_to_retry_whatever_their_clocks_say() {
    for limit in limits() {
        let server = Server::start();
        let nodes = skewed(&server, &limit);
        nodes[0].ask("somebody", Op::Take, 20);
        let retries: Vec<u64> = nodes
            .iter()
            .map(|node| {
                let answer = node.ask("somebody", Op::Take, 1).answer;
                match answer.expect("an answer").binding().1.retry {
                    Retry::After(wait) => wait.0,
                    other => panic!("expected a time to wait, got: {other:?}"),
                }
            })
            .collect();
        // Only as much of it is over as the test took, by Redis's clock.
        for pair in retries.windows(2) {
            assert!(
                pair[1] <= pair[0] && pair[0] - pair[1] < MINUTE,
                "{limit:?}: {retries:?}"
            );
        }
    }
}

#[test]
fn what_drains_in_redis_drains_for_a_node_whose_clock_stands() {
    let server = Server::start();
    let limit = Limit::token_bucket(20, Duration::from_secs(1));
    let still = Skewed::new(&server, &limit, 0, 0);
    still.ask("somebody", Op::Take, 20);
    until("all of it has drained", PATIENCE, || {
        still.node.remaining("somebody") == 20
    });
}

#[test]
fn a_denial_that_is_remembered_is_as_old_as_the_node_has_waited_and_no_date() {
    let server = Server::start();
    let limit = Limit::token_bucket(20, DAY);
    for node in skewed(&server, &limit) {
        node.ask("somebody", Op::Take, 20);
        let cached = || node.node.limiter.stats().cached_denials;
        let denied = || node.node.ask("somebody", Op::Take, 1).verdict == Verdict::Denied;
        let before = cached();
        assert!(denied() && denied() && denied());
        assert_eq!(cached(), before + 2, "asked once, and then known");
        // A second at most, and then it is asked for again: whatever date it is for the node.
        node.clock.advance(Nanos(SECOND));
        assert!(denied());
        assert_eq!(cached(), before + 2);
    }
}

#[test]
fn alone_all_nodes_go_on_from_the_same_state_and_measure_only_how_long_they_were() {
    for limit in limits() {
        let mut server = Server::start();
        let mut nodes = skewed(&server, &limit);
        nodes.truncate(3);
        nodes[0].ask("somebody", Op::Take, 8);
        let heard: Vec<u64> = nodes
            .iter()
            .map(|node| node.node.remaining("somebody"))
            .collect();
        assert_eq!(heard, [12, 12, 12], "{limit:?}");
        server.kill();
        for node in &nodes {
            until("the outage is noticed", PATIENCE, || {
                node.ask("another", Op::Peek, 0).source == Source::Fallback
            });
            // Their own time goes on by the same span; what date it is does not matter.
            node.clock.advance(Nanos(6 * HOUR));
        }
        let alone: Vec<u64> = nodes
            .iter()
            .map(|node| node.node.remaining("somebody"))
            .collect();
        // Of a bucket, a quarter of a day's has drained; of the others, nothing is over yet.
        let is_bucket = limit == Limit::token_bucket(20, DAY);
        let left = if is_bucket { 17 } else { 12 };
        assert_eq!(alone, [left; 3], "{limit:?}");
    }
}

#[test]
fn a_node_that_starts_without_redis_and_has_the_wrong_time_is_charged_all_the_same() {
    for limit in limits() {
        for minutes in [-10_i64, 10] {
            let mut server = Server::start();
            server.kill();
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = Nanos::from(now.expect("it is later than 1970")).0;
            let wrong = now.saturating_add_signed(minutes * 60 * 1_000_000_000);
            let clock = Clock::Manual(Arc::new(ManualClock::new(Nanos(wrong))));
            let node = Node::alone("a", server.endpoint(), &limit, clock);
            until("the outage is noticed", PATIENCE, || {
                node.ask("another", Op::Peek, 0).source == Source::Fallback
            });
            let outcome = node.ask("somebody", Op::Take, 9);
            assert_eq!(
                (outcome.verdict, outcome.source),
                (Verdict::Allowed, Source::Fallback)
            );
            server.restart();
            until("Redis answers", PATIENCE, || {
                node.ask("another", Op::Peek, 0).source == Source::Authority
            });
            // A bucket's debt may be that of a clock that was ahead, which is some minutes more: a part of one.
            let charged = 20 - node.remaining("somebody");
            let is_bucket = limit == Limit::token_bucket(20, DAY);
            let most = if is_bucket { 10 } else { 9 };
            assert!(
                (9..=most).contains(&charged),
                "{limit:?}, {minutes} minutes: {charged}"
            );
        }
    }
}
