//! Remembered denials, batches, and callers that stop to wait.

use rate_limiter_core::{Nanos, Retry, Scale};

use crate::call::Op;
use crate::options::OnOutage;
use crate::request::{Source, Verdict};

use super::cluster::{request, Cluster, SECOND};
use super::uplink::Network;

#[test]
fn a_denial_is_remembered_until_it_ends_or_a_refund() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    node.take(1, 12);
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    let sent = node.uplink.sent();
    cluster.advance(Nanos(SECOND.0 / 4));
    let response = node.take(1, 1);
    assert_eq!(
        (response.verdict, response.source),
        (Verdict::Denied, Source::Authority)
    );
    let answer = response.answer.expect("an answer");
    assert_eq!(
        answer.binding().1.retry,
        Retry::After(Nanos(SECOND.0 / 4 * 3))
    );
    assert_eq!(
        (node.uplink.sent(), node.limiter.stats().cached_denials),
        (sent, 1)
    );
    // Another cost, another scale and a peek are other requests.
    assert_eq!(node.take(1, 2).verdict, Verdict::Denied);
    assert_eq!(node.remaining(1), 0);
    node.limiter.set_scale(Scale::from_ppm(500_000));
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    node.limiter.set_scale(Scale::ONE);
    assert_eq!(node.uplink.sent(), sent + 3);

    node.request(1, Op::Refund, 1);
    assert_eq!(node.take(1, 1).verdict, Verdict::Allowed);
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    cluster.advance(SECOND);
    assert_eq!(node.take(1, 1).verdict, Verdict::Allowed);
}

/// Its time to retry was off by the difference of the clocks.
#[test]
fn a_denial_is_not_repeated_by_the_clock_of_another_server() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
    let (node, clock) = (&cluster.nodes[0], &cluster.server.clock);
    node.take(1, 12);
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    let now = clock.now();
    for other in [now.0 - 100 * SECOND.0, now.0 + 100 * SECOND.0] {
        // A server that decides other keys.
        clock.set(Nanos(other));
        node.take(2, 0);
        clock.set(now);
        let answer = node.take(1, 1).answer.expect("an answer");
        assert_eq!(answer.binding().1.retry, Retry::After(SECOND));
    }
    assert_eq!(node.limiter.stats().cached_denials, 0);
    node.take(1, 1);
    assert_eq!(node.limiter.stats().cached_denials, 1);
}

#[test]
fn a_batch_returns_each_response_in_its_place() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    node.take(3, 12);
    node.take(3, 1);
    cluster.set_network(Network::Down);
    let asks = [1, 3, 2].map(|id| (request(id, Op::Take, 1), drop));
    let responses = node.limiter.submit_batch(asks.into()).expect("all windows");
    let decisions: Vec<_> = responses
        .into_iter()
        .map(|response| response.map(|response| (response.verdict, response.source)))
        .collect();
    // The denial is remembered.
    assert_eq!(decisions[0], Some((Verdict::Allowed, Source::Fallback)));
    assert_eq!(decisions[1], Some((Verdict::Denied, Source::Authority)));
    assert_eq!(decisions[2], Some((Verdict::Allowed, Source::Fallback)));
}

#[test]
fn a_local_decision_for_a_caller_that_stops_to_wait_is_charged() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
    let here = &cluster.nodes[0];
    cluster.set_network(Network::Delayed);
    let late = here.submit(1, Op::Take, 1);
    let response = here
        .limiter
        .decide_locally(request(1, Op::Take, 1))
        .expect("its window");
    assert_eq!(
        (response.verdict, response.source),
        (Verdict::Allowed, Source::Fallback)
    );
    assert!(late.lock().is_empty());
    assert_eq!(here.limiter.stats().pending, 1);
    // Both count: the late call and the local decision.
    cluster.set_network(Network::Up);
    here.uplink.deliver(Network::Up);
    assert_eq!(late.lock().len(), 1);
    assert_eq!(here.remaining(1), 10);
}
