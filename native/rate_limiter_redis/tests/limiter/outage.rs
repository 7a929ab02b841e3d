//! A server that dies with all that it knew.

use std::time::Duration;

use rate_limiter_core::Limit;
use rate_limiter_distributed::{Op, Source, Verdict};

use crate::node::{Node, PATIENCE};
use crate::servers::{until, Server};

/// A day: nothing drains while a test runs.
const DAY: Duration = Duration::from_hours(24);

fn limits() -> [Limit; 4] {
    [
        Limit::token_bucket(10, DAY),
        Limit::sliding_window(10, DAY),
        Limit::sliding_log(10, DAY),
        Limit::fixed_window(10, DAY),
    ]
}

#[test]
fn what_was_used_before_and_during_an_outage_stays_used_after_it() {
    for limit in limits() {
        let mut server = Server::start();
        let node = Node::new("a", server.endpoint(), &limit);
        let outcome = node.ask("somebody", Op::Take, 4);
        assert_eq!(outcome.source, Source::Authority);
        node.ask("nobody asks again", Op::Take, 1);
        server.kill();
        until("the outage is noticed", PATIENCE, || {
            node.ask("another", Op::Peek, 0).source == Source::Fallback
        });
        let outcome = node.ask("somebody", Op::Take, 3);
        assert_eq!(
            (outcome.verdict, outcome.source),
            (Verdict::Allowed, Source::Fallback),
            "{limit:?}"
        );
        node.ask("nobody asks again", Op::Take, 1);
        assert_eq!(node.ask("somebody", Op::Take, 4).verdict, Verdict::Denied);

        server.restart();
        until("Redis answers again", PATIENCE, || {
            node.ask("another", Op::Peek, 0).source == Source::Authority
        });
        assert_eq!(node.remaining("somebody"), 3, "{limit:?}");
        assert_eq!(node.ask("somebody", Op::Take, 3).verdict, Verdict::Allowed);
        assert_eq!(node.ask("somebody", Op::Take, 1).verdict, Verdict::Denied);

        // A node that has only just come hears of what nobody has asked about.
        let newcomer = Node::new("b", server.endpoint(), &limit);
        until("the rest is told of", PATIENCE, || {
            node.limiter.sweep(1_000);
            newcomer.remaining("nobody asks again") == 8
        });
        assert_eq!(node.limiter.stats().backlog, 0);
    }
}
