//! Laws over random histories of outages, lost calls and lost data.

use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Limit, Nanos, Retry};

use crate::call::Op;
use crate::options::OnOutage;
use crate::request::{Source, Verdict};

use super::cluster::Cluster;
use super::uplink::Network;

const SECOND: u64 = 1_000_000_000;
const LIMIT: u64 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// By a node, about one of two keys, of a cost.
    Take(usize, u64, u64),
    Peek(usize, u64),
    /// In thousandths of the period.
    Advance(u64),
    /// Of all nodes, or of one.
    SetNetwork(Option<usize>, Network),
    /// The server loses its data.
    Lose,
    Reconnect,
    Sweep(usize),
    /// Ends the first delayed call of a node.
    Deliver(usize, Network),
}

fn limits() -> impl Strategy<Value = Limit> {
    let per = Duration::from_secs(1);
    prop_oneof![
        (1..=3 * LIMIT).prop_map(move |burst| Limit::token_bucket(LIMIT, per).with_burst(burst)),
        (1..=5_u32)
            .prop_map(move |parts| Limit::sliding_window(LIMIT, per).with_sub_windows(parts)),
        Just(Limit::sliding_log(LIMIT, per)),
        Just(Limit::fixed_window(LIMIT, per)),
    ]
}

fn networks() -> impl Strategy<Value = Network> {
    prop_oneof![
        3 => Just(Network::Up),
        2 => Just(Network::Down),
        1 => Just(Network::RequestLost),
        1 => Just(Network::ReplyLost),
    ]
}

fn steps(nodes: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..nodes, 0..2_u64, 1..=4_u64).prop_map(|(node, id, cost)| Step::Take(node, id, cost)),
        1 => (0..nodes, 0..2_u64).prop_map(|(node, id)| Step::Peek(node, id)),
        6 => (1..=900_u64).prop_map(Step::Advance),
        4 => (proptest::option::of(0..nodes), networks())
            .prop_map(|(node, network)| Step::SetNetwork(node, network)),
        1 => Just(Step::Lose),
        1 => Just(Step::Reconnect),
        1 => (0..nodes).prop_map(Step::Sweep),
    ]
}

/// The same, with delayed calls.
fn slow_steps(nodes: usize) -> impl Strategy<Value = Step> {
    let arrivals = prop_oneof![
        4 => Just(Network::Up),
        1 => Just(Network::RequestLost),
        1 => Just(Network::ReplyLost),
        1 => Just(Network::Down),
    ];
    prop_oneof![
        4 => steps(nodes),
        1 => (0..nodes).prop_map(|node| Step::SetNetwork(Some(node), Network::Delayed)),
        3 => (0..nodes, arrivals).prop_map(|(node, network)| Step::Deliver(node, network)),
    ]
}

/// The moments, in the server's time, and costs of the admitted calls of one key.
#[derive(Clone, Debug, Default)]
struct Admitted(Vec<(u64, u64)>);

impl Admitted {
    /// Returns by how much the limit was exceeded in the worst span.
    fn beyond(&self, limit: &Limit) -> u64 {
        let per = Nanos::from(limit.per()).0;
        let mut worst = 0;
        for (from, &(start, _)) in self.0.iter().enumerate() {
            let mut sum = 0;
            for &(at, cost) in &self.0[from..] {
                sum += cost;
                let most = match limit.algorithm() {
                    Algorithm::TokenBucket { .. } => limit.capacity() + LIMIT * (at - start) / per,
                    Algorithm::SlidingWindow { .. } | Algorithm::SlidingLog => {
                        LIMIT * ((at - start) / per + 1)
                    }
                    Algorithm::FixedWindow { .. } => LIMIT * (at / per - start / per + 1),
                };
                worst = worst.max(sum.saturating_sub(most));
            }
        }
        worst
    }
}

/// Runs a history. Returns the admitted calls of each key, and the cost by which faults may exceed the limit.
fn run(cluster: &Cluster, history: &[Step], limit: &Limit) -> ([Admitted; 2], u64) {
    let mut admitted = [Admitted::default(), Admitted::default()];
    let mut allowance = 0;
    let most = limit.capacity();
    let mut waiting = Vec::new();
    for step in history {
        match *step {
            Step::Take(node, id, cost) => {
                let responses = cluster.nodes[node].submit(id, Op::Take, cost);
                waiting.push((id, cost, responses));
            }
            Step::Deliver(node, network) => cluster.nodes[node].uplink.deliver(network),
            Step::Peek(node, id) => drop(cluster.nodes[node].submit(id, Op::Peek, 1)),
            Step::Advance(thousandths) => cluster.advance(Nanos(SECOND / 1_000 * thousandths)),
            Step::SetNetwork(None, network) => cluster.set_network(network),
            Step::SetNetwork(Some(node), network) => {
                cluster.nodes[node].uplink.set_network(network);
            }
            Step::Lose => {
                // A single node knows all usage; each of several knows a part.
                allowance += if cluster.nodes.len() > 1 { most } else { 0 };
                cluster.lose_data();
            }
            Step::Reconnect => cluster.reconnect(),
            Step::Sweep(node) => {
                cluster.nodes[node].sweep();
            }
        }
        waiting.retain(|(id, cost, responses)| {
            let responses = responses.lock();
            assert!(responses.len() <= 1, "{} responses", responses.len());
            let Some(response) = responses.first() else {
                return true;
            };
            if response.verdict == Verdict::Allowed {
                let place = usize::try_from(*id).expect("one of two");
                admitted[place].0.push((cluster.now().0, *cost));
                if response.source == Source::Fallback {
                    allowance += cost;
                }
            }
            if let Some(answer) = &response.answer {
                let (_, usage) = answer.binding();
                assert!(usage.remaining <= usage.max && usage.max <= most);
            }
            false
        });
    }
    (admitted, allowance)
}

/// Returns the history with its steps spread over this many nodes.
fn on_nodes(history: Vec<Step>, nodes: usize) -> Vec<Step> {
    let spread = |step| match step {
        Step::Take(node, id, cost) => Step::Take(node % nodes, id, cost),
        Step::Peek(node, id) => Step::Peek(node % nodes, id),
        Step::SetNetwork(Some(node), network) => Step::SetNetwork(Some(node % nodes), network),
        Step::Sweep(node) => Step::Sweep(node % nodes),
        Step::Deliver(node, network) => Step::Deliver(node % nodes, network),
        other => other,
    };
    history.into_iter().map(spread).collect()
}

/// Returns the time after which no usage counts, with one sub-window more.
fn drained(limit: &Limit) -> Nanos {
    Nanos((limit.capacity().div_ceil(LIMIT) + 1) * SECOND)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(1_000, |_| ProptestConfig::default().cases),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_node_never_admits_more_than_the_limit(
        limit in limits(),
        skew in -1_000..1_000_i64,
        history in collection::vec(steps(1), 1..80),
    ) {
        let cluster = Cluster::new(std::slice::from_ref(&limit), &[skew], OnOutage::Share);
        // Its first reply sets its clock.
        cluster.nodes[0].remaining(7);
        let (admitted, _) = run(&cluster, &history, &limit);
        for admitted in &admitted {
            prop_assert_eq!(admitted.beyond(&limit), 0, "{:?}", admitted);
        }
    }

    #[test]
    fn nodes_exceed_the_limit_at_most_by_local_decisions_and_lost_data(
        limit in limits(),
        skews in collection::vec(-1_000..1_000_i64, 2..=4),
        history in collection::vec(slow_steps(4), 1..80),
    ) {
        let cluster = Cluster::new(std::slice::from_ref(&limit), &skews, OnOutage::Share);
        for node in &cluster.nodes {
            node.remaining(7);
        }
        let nodes = skews.len();
        let history = on_nodes(history, nodes);
        let (admitted, allowance) = run(&cluster, &history, &limit);
        for admitted in &admitted {
            prop_assert!(admitted.beyond(&limit) <= allowance, "{:?}", admitted);
        }
    }

    #[test]
    fn an_outage_of_all_nodes_exceeds_the_limit_at_most_by_their_shares(
        limit in limits(),
        nodes in 2..=4_usize,
        before in collection::vec(steps(4), 0..30),
        during in collection::vec((0..4_usize, 1..=4_u64, 0..=300_u64), 1..60),
    ) {
        let cluster = Cluster::new(std::slice::from_ref(&limit), &vec![0; nodes], OnOutage::Share);
        let calm: Vec<Step> = before.into_iter().filter_map(|step| match step {
            Step::Take(node, id, cost) => Some(Step::Take(node % nodes, id, cost)),
            Step::Advance(span) => Some(Step::Advance(span)),
            _ => None,
        }).collect();
        let faulty = during.into_iter().flat_map(|(node, cost, wait)| {
            [Step::Advance(wait), Step::Take(node % nodes, 0, cost)]
        });
        let mut history = calm;
        history.push(Step::SetNetwork(None, Network::Down));
        history.extend(faulty);
        let (admitted, _) = run(&cluster, &history, &limit);
        let most = limit.capacity();
        prop_assert!(admitted[0].beyond(&limit) <= most, "{:?}", admitted[0]);
    }

    #[test]
    fn after_all_faults_no_key_stays_locked_and_the_whole_limit_returns(
        limit in limits(),
        nodes in 1..=3_usize,
        history in collection::vec(slow_steps(3), 1..60),
    ) {
        let cluster = Cluster::new(std::slice::from_ref(&limit), &vec![0; nodes], OnOutage::Share);
        let history = on_nodes(history, nodes);
        run(&cluster, &history, &limit);
        for node in &cluster.nodes {
            while node.uplink.in_flight() > 0 {
                node.uplink.deliver(Network::Up);
            }
        }
        cluster.set_network(Network::Up);
        for node in &cluster.nodes {
            // No caller waits for longer than a full bucket or a window, whatever the backlog was.
            let denied = node.take(0, 1);
            if let Retry::After(wait) = denied.answer.expect("an answer").binding().1.retry {
                prop_assert!(wait <= drained(&limit), "{:?}", wait);
            }
        }
        cluster.advance(drained(&limit));
        let node = &cluster.nodes[0];
        let response = node.take(0, 1);
        prop_assert_eq!((response.verdict, response.source), (Verdict::Allowed, Source::Authority));
        let answer = response.answer.expect("an answer");
        let (_, usage) = answer.binding();
        prop_assert_eq!(usage.remaining, usage.max - 1);
    }
}
