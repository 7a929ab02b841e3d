//! A server that loses its data in an outage.

use std::time::Duration;

use rate_limiter_core::Limit;
use rate_limiter_distributed::{Op, Source, Verdict};

use crate::node::{Node, MAX_WAIT};
use crate::servers::{until, Server};

/// Long enough that nothing expires during a test.
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
fn usage_before_and_during_an_outage_is_restored_after_it() {
    for limit in limits() {
        let mut server = Server::start();
        let node = Node::new("a", server.endpoint(), &limit);
        let response = node.call("ann", Op::Take, 4);
        assert_eq!(response.source, Source::Authority);
        node.call("bob", Op::Take, 1);
        server.kill();
        node.wait_for(Source::Fallback);
        let response = node.call("ann", Op::Take, 3);
        assert_eq!(
            (response.verdict, response.source),
            (Verdict::Allowed, Source::Fallback),
            "{limit:?}"
        );
        node.call("bob", Op::Take, 1);
        assert_eq!(node.call("ann", Op::Take, 4).verdict, Verdict::Denied);

        server.restart();
        node.wait_for(Source::Authority);
        assert_eq!(node.remaining("ann"), 3, "{limit:?}");
        assert_eq!(node.call("ann", Op::Take, 3).verdict, Verdict::Allowed);
        assert_eq!(node.call("ann", Op::Take, 1).verdict, Verdict::Denied);

        // The usage of an id without further calls is reconciled, too: a new node sees it.
        let new_node = Node::new("b", server.endpoint(), &limit);
        until("the backlog is reconciled", MAX_WAIT, || {
            node.limiter.sweep(1_000);
            new_node.remaining("bob") == 8
        });
        assert_eq!(node.limiter.stats().backlog, 0);
    }
}
