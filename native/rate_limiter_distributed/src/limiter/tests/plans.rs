//! Requests under plans, whose amounts stay whatever the units of their limits are.

use std::time::Duration;

use rate_limiter_core::{CallError, Change, Key, Limit, Nanos, Seed};

use crate::call::Op;
use crate::options::OnOutage;
use crate::request::{Limits, Request, Response, Source, Verdict};

use super::cluster::{named, request, Cluster, Node, SECOND};
use super::uplink::Network;

const LIMITS: [Limits; 2] = [Limits::Own, Limits::Changed(Vec::new())];

/// Twelve tokens, one a second.
fn buckets(nodes: usize, on_outage: OnOutage) -> Cluster {
    let cluster = Cluster::of_buckets(nodes, on_outage);
    for node in &cluster.nodes {
        node.limiter
            .put_plans(&[(pro(), vec![ten_times()])])
            .expect("limits that are kept");
    }
    cluster
}

fn pro() -> Key {
    Seed::fixed(7).key(b"pro")
}

/// A hundred and twenty tokens, ten a second.
fn ten_times() -> Change {
    Change {
        tag: 1,
        limit: Some(120),
        per: None,
        burst: Some(120),
        is_enforced: None,
    }
}

/// The plan by its name, and by its numbers.
fn plans() -> [Limits; 2] {
    [Limits::Plan(pro()), Limits::Changed(vec![ten_times()])]
}

fn ask(node: &Node, request: Request<'static>) -> Response {
    let responses = node.submit_request(request);
    let responses = responses.lock();
    responses.first().cloned().expect("a response")
}

fn under(limits: &Limits, op: Op, cost: u64) -> Request<'static> {
    Request {
        limits: limits.clone(),
        ..request(1, op, cost)
    }
}

fn left(response: &Response) -> u64 {
    let answer = response.answer.as_ref().expect("an answer");
    answer.binding().1.remaining
}

/// Takes under some limits.
fn take(node: &Node, limits: &Limits, cost: u64) -> Response {
    ask(node, under(limits, Op::Take, cost))
}

/// What is left under some limits.
fn peek(node: &Node, limits: &Limits) -> u64 {
    left(&ask(node, under(limits, Op::Peek, 0)))
}

#[test]
fn what_was_used_stays_used_when_the_plan_changes() {
    for plan in &plans() {
        let cluster = buckets(1, OnOutage::Share);
        let node = &cluster.nodes[0];
        assert_eq!(left(&take(node, &Limits::Own, 5)), 7);
        assert_eq!(left(&take(node, plan, 20)), 95);
        assert_eq!(peek(node, &Limits::Own), 0);
        // Under the plan, ten drain in a second.
        assert_eq!(peek(node, plan), 95);
        cluster.advance(SECOND);
        assert_eq!(peek(node, plan), 105);
    }
}

#[test]
fn a_denial_under_one_plan_is_none_of_another() {
    for plan in &plans() {
        let cluster = buckets(1, OnOutage::Share);
        let node = &cluster.nodes[0];
        take(node, &Limits::Own, 12);
        assert_eq!(take(node, &Limits::Own, 1).verdict, Verdict::Denied);
        assert_eq!(take(node, plan, 1).verdict, Verdict::Allowed);
        assert_eq!(take(node, plan, 108).verdict, Verdict::Denied);
        assert_eq!(take(node, plan, 108).verdict, Verdict::Denied);
        assert_eq!(node.limiter.stats().cached_denials, 1);
        assert_eq!(left(&take(node, plan, 107)), 0);
    }
}

#[test]
fn each_node_has_its_share_of_the_plan_in_an_outage() {
    for plan in &plans() {
        let cluster = buckets(2, OnOutage::Share);
        cluster.set_network(Network::Down);
        for node in &cluster.nodes {
            let taken = take(node, plan, 60);
            assert_eq!((taken.verdict, left(&taken)), (Verdict::Allowed, 0));
            assert_eq!(taken.source, Source::Fallback);
            let denied = take(node, plan, 1);
            assert_eq!(denied.verdict, Verdict::Denied);
            let wait = denied.answer.expect("an answer").binding().1.retry;
            assert_eq!(wait, rate_limiter_core::Retry::After(Nanos(200_000_000)));
        }
    }
}

#[test]
fn an_outage_begins_with_what_the_authority_has_reported_under_another_plan() {
    for plan in &plans() {
        let cluster = buckets(1, OnOutage::Share);
        let node = &cluster.nodes[0];
        take(node, &Limits::Own, 5);
        cluster.set_network(Network::Down);
        assert_eq!(peek(node, plan), 115);
        assert_eq!(left(&take(node, plan, 15)), 100);
        assert_eq!(peek(node, &Limits::Own), 0);
    }
}

#[test]
fn what_was_admitted_in_an_outage_is_charged_under_the_plan_of_the_next_call() {
    for plan in &plans() {
        for (first, second, cost, rest) in [
            (plan, &Limits::Own, 10, 2),
            (&Limits::Own, plan, 5, 115),
            (plan, plan, 30, 90),
        ] {
            let cluster = buckets(2, OnOutage::Share);
            let node = &cluster.nodes[0];
            cluster.set_network(Network::Down);
            assert_eq!(take(node, first, cost).verdict, Verdict::Allowed);
            cluster.set_network(Network::Up);
            assert_eq!(peek(node, second), rest);
            assert_eq!(peek(&cluster.nodes[1], second), rest);
        }
    }
}

#[test]
fn a_key_without_calls_is_charged_in_the_background_by_its_amount() {
    for plan in &plans() {
        let cluster = buckets(2, OnOutage::Share);
        let node = &cluster.nodes[0];
        cluster.set_network(Network::Down);
        take(node, plan, 10);
        cluster.set_network(Network::Up);
        node.sweep();
        assert_eq!(node.limiter.stats().backlog, 0);
        assert_eq!(peek(&cluster.nodes[1], &Limits::Own), 2);
    }
}

#[test]
fn a_named_request_is_charged_once_also_under_another_plan() {
    for plan in &plans() {
        let cluster = buckets(1, OnOutage::Share);
        let node = &cluster.nodes[0];
        cluster.set_network(Network::Down);
        let order = || Request {
            limits: plan.clone(),
            ..named(1, "order 7", 5)
        };
        assert_eq!(ask(node, order()).verdict, Verdict::Allowed);
        assert_eq!(ask(node, order()).verdict, Verdict::Allowed);
        cluster.set_network(Network::Up);
        assert_eq!(peek(node, &Limits::Own), 7);
        assert_eq!(ask(node, order()).verdict, Verdict::Allowed);
        assert_eq!(peek(node, plan), 115);
    }
}

#[test]
fn what_the_authority_lost_is_restored_by_its_amount() {
    for plan in &plans() {
        for (first, second, rest) in [(plan, &Limits::Own, 4), (&Limits::Own, plan, 112)] {
            let cluster = buckets(1, OnOutage::Share);
            let node = &cluster.nodes[0];
            take(node, first, 8);
            cluster.lose_data();
            assert_eq!(peek(node, second), rest);
        }
    }
}

#[test]
fn with_on_outage_allow_a_cost_within_the_plan_is_admitted() {
    for plan in &plans() {
        let cluster = buckets(2, OnOutage::Allow);
        let node = &cluster.nodes[0];
        cluster.set_network(Network::Down);
        assert_eq!(take(node, &Limits::Own, 13).verdict, Verdict::Denied);
        assert_eq!(take(node, plan, 120).verdict, Verdict::Allowed);
        assert_eq!(take(node, plan, 121).verdict, Verdict::Denied);
    }
}

#[test]
fn plans_are_replaced_and_removed() {
    let cluster = buckets(1, OnOutage::Share);
    let limiter = &cluster.nodes[0].limiter;
    let max = |limits: &Limits| {
        let response = limiter.submit(under(limits, Op::Peek, 0), drop)?;
        let answer = response.and_then(|response| response.answer);
        Ok(answer.map(|answer| answer.binding().1.max))
    };
    // A look is sent, so the plan is known.
    assert_eq!(max(&Limits::Plan(pro())), Ok(None));
    let unknown = Limits::Plan(Seed::fixed(7).key(b"free"));
    assert_eq!(max(&unknown), Err(CallError::UnknownPlan));
    let other = Change {
        tag: 7,
        ..ten_times()
    };
    assert_eq!(
        max(&Limits::Changed(vec![other])),
        Err(CallError::UnknownWindow)
    );
    assert!(limiter.put_plans(&[(pro(), vec![other])]).is_err());
    limiter
        .update_limits(&[(1, Limit::token_bucket(6, Duration::from_secs(12)))])
        .expect("a limit that is kept");
    assert_eq!(peek(&cluster.nodes[0], &Limits::Plan(pro())), 120);
    assert!(limiter.remove_plan(pro()));
    assert!(!limiter.remove_plan(pro()));
    assert_eq!(max(&Limits::Plan(pro())), Err(CallError::UnknownPlan));
    for limits in &LIMITS {
        assert_eq!(peek(&cluster.nodes[0], limits), 6);
    }
}
