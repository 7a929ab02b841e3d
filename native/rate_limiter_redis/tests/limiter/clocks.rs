//! Nodes with wrong clocks: Redis's clock decides, and a node's own clock only measures durations.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rate_limiter_core::{Clock, Limit, ManualClock, Nanos, Retry};
use rate_limiter_distributed::{Op, Response, Source, Verdict};

use crate::node::{Node, MAX_WAIT};
use crate::servers::{until, Server};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: Duration = Duration::from_hours(24);

/// A node with a clock of its own.
struct Skewed {
    node: Node,
    clock: Arc<ManualClock>,
    /// The time that passes on its clock before each call.
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

    fn call(&self, id: &str, op: Op, cost: u64) -> Response {
        self.clock.advance(self.step);
        self.node.call(id, op, cost)
    }
}

/// Returns nodes with correct clocks, some minutes behind and ahead, in 1970 and stopped, and years ahead and too fast.
fn skewed(server: &Server, limit: &Limit) -> Vec<Skewed> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Nanos::from(now.expect("a time after 1970")).0;
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
        // Aligned and long, so that no window ends during a test.
        Limit::fixed_window(20, Duration::from_hours(24 * 3_000)),
    ]
}

#[test]
fn nodes_with_wrong_clocks_admit_exactly_the_limit_together() {
    for limit in limits() {
        let server = Server::start();
        let nodes = skewed(&server, &limit);
        let mut admitted = 0;
        for number in 0..60 {
            let node = &nodes[number % nodes.len()];
            let response = node.call("ann", Op::Take, 1);
            assert_eq!(response.source, Source::Authority);
            // No clock that is ahead admits one more.
            let expected = if number < 20 {
                Verdict::Allowed
            } else {
                Verdict::Denied
            };
            assert_eq!(response.verdict, expected, "{limit:?}, call {number}");
            admitted += u64::from(response.verdict == Verdict::Allowed);
        }
        assert_eq!(admitted, 20, "{limit:?}");
    }
}

#[test]
fn nodes_with_wrong_clocks_get_the_same_retry_time() {
    for limit in limits() {
        let server = Server::start();
        let nodes = skewed(&server, &limit);
        nodes[0].call("ann", Op::Take, 20);
        let retries: Vec<u64> = nodes
            .iter()
            .map(|node| {
                let answer = node.call("ann", Op::Take, 1).answer;
                match answer.expect("an answer").binding().1.retry {
                    Retry::After(wait) => wait.0,
                    other => panic!("expected a retry time, got: {other:?}"),
                }
            })
            .collect();
        // It decreases only by the duration of the test, on Redis's clock.
        for pair in retries.windows(2) {
            assert!(
                pair[1] <= pair[0] && pair[0] - pair[1] < MINUTE,
                "{limit:?}: {retries:?}"
            );
        }
    }
}

#[test]
fn a_bucket_drains_for_a_node_whose_clock_is_stopped() {
    let server = Server::start();
    let limit = Limit::token_bucket(20, Duration::from_secs(1));
    let stopped = Skewed::new(&server, &limit, 0, 0);
    stopped.call("ann", Op::Take, 20);
    until("all usage has drained", MAX_WAIT, || {
        stopped.node.remaining("ann") == 20
    });
}

#[test]
fn a_cached_denial_expires_by_elapsed_time_on_the_nodes_clock() {
    let server = Server::start();
    let limit = Limit::token_bucket(20, DAY);
    for node in skewed(&server, &limit) {
        node.call("ann", Op::Take, 20);
        let cached = || node.node.limiter.stats().cached_denials;
        let denied = || node.node.call("ann", Op::Take, 1).verdict == Verdict::Denied;
        let before = cached();
        assert!(denied() && denied() && denied());
        assert_eq!(
            cached(),
            before + 2,
            "expected one call to Redis, and two cached denials"
        );
        // A denial is cached for at most a second, whatever the date on the node's clock.
        node.clock.advance(Nanos(SECOND));
        assert!(denied());
        assert_eq!(cached(), before + 2);
    }
}

#[test]
fn in_an_outage_nodes_continue_from_the_same_state_by_elapsed_time() {
    for limit in limits() {
        let mut server = Server::start();
        let mut nodes = skewed(&server, &limit);
        nodes.truncate(3);
        nodes[0].call("ann", Op::Take, 8);
        let before: Vec<u64> = nodes
            .iter()
            .map(|node| node.node.remaining("ann"))
            .collect();
        assert_eq!(before, [12, 12, 12], "{limit:?}");
        server.kill();
        for node in &nodes {
            node.node.wait_for(Source::Fallback);
            // The same duration passes for all; the dates of their clocks do not matter.
            node.clock.advance(Nanos(6 * HOUR));
        }
        let after: Vec<u64> = nodes
            .iter()
            .map(|node| node.node.remaining("ann"))
            .collect();
        // A quarter of a day has drained from a bucket; the other limits have expired nothing yet.
        let is_bucket = limit == Limit::token_bucket(20, DAY);
        let left = if is_bucket { 17 } else { 12 };
        assert_eq!(after, [left; 3], "{limit:?}");
    }
}

#[test]
fn usage_of_a_node_that_starts_in_an_outage_with_a_wrong_clock_is_charged() {
    for limit in limits() {
        for minutes in [-10_i64, 10] {
            let mut server = Server::start();
            server.kill();
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = Nanos::from(now.expect("a time after 1970")).0;
            let wrong = now.saturating_add_signed(minutes * 60 * 1_000_000_000);
            let clock = Clock::Manual(Arc::new(ManualClock::new(Nanos(wrong))));
            let node = Node::disconnected("a", server.endpoint(), &limit, clock);
            node.wait_for(Source::Fallback);
            let response = node.call("ann", Op::Take, 9);
            assert_eq!(
                (response.verdict, response.source),
                (Verdict::Allowed, Source::Fallback)
            );
            server.restart();
            node.wait_for(Source::Authority);
            // The debt of a bucket may include some minutes of a clock that was ahead: a part of one token.
            let charged = 20 - node.remaining("ann");
            let is_bucket = limit == Limit::token_bucket(20, DAY);
            let most = if is_bucket { 10 } else { 9 };
            assert!(
                (9..=most).contains(&charged),
                "{limit:?}, {minutes} minutes: {charged}"
            );
        }
    }
}
