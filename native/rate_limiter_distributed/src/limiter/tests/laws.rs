//! What holds over any history of outages, lost calls and lost data.

use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Limit, Nanos, Retry};

use crate::call::Op;
use crate::options::OnOutage;
use crate::request::{Source, Verdict};

use super::cluster::{Weather, World};

const SECOND: u64 = 1_000_000_000;
const LIMIT: u64 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// By one node, about one of two keys.
    Take(usize, u64, u64),
    Peek(usize, u64),
    /// Thousandths of the period.
    Wait(u64),
    /// For all nodes, or one.
    Weather(Option<usize>, Weather),
    /// The server comes back without its data.
    Lose,
    Reconnect,
    Sweep(usize),
    /// The first call that is on its way gets there, or is lost.
    LetGo(usize, Weather),
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

fn weathers() -> impl Strategy<Value = Weather> {
    prop_oneof![
        3 => Just(Weather::Fair),
        2 => Just(Weather::Away),
        1 => Just(Weather::LostThere),
        1 => Just(Weather::LostBack),
    ]
}

fn steps(nodes: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..nodes, 0..2_u64, 1..=4_u64).prop_map(|(node, id, cost)| Step::Take(node, id, cost)),
        1 => (0..nodes, 0..2_u64).prop_map(|(node, id)| Step::Peek(node, id)),
        6 => (1..=900_u64).prop_map(Step::Wait),
        4 => (proptest::option::of(0..nodes), weathers())
            .prop_map(|(node, weather)| Step::Weather(node, weather)),
        1 => Just(Step::Lose),
        1 => Just(Step::Reconnect),
        1 => (0..nodes).prop_map(Step::Sweep),
    ]
}

/// The same, and calls that take their time.
fn slow_steps(nodes: usize) -> impl Strategy<Value = Step> {
    let arrivals = prop_oneof![
        4 => Just(Weather::Fair),
        1 => Just(Weather::LostThere),
        1 => Just(Weather::LostBack),
        1 => Just(Weather::Away),
    ];
    prop_oneof![
        4 => steps(nodes),
        1 => (0..nodes).prop_map(|node| Step::Weather(Some(node), Weather::Held)),
        3 => (0..nodes, arrivals).prop_map(|(node, weather)| Step::LetGo(node, weather)),
    ]
}

/// What was let through of one key, and when, in the server's time.
#[derive(Clone, Debug, Default)]
struct Admitted(Vec<(u64, u64)>);

impl Admitted {
    /// By how much the limit was exceeded in the span where it was most.
    fn beyond(&self, limit: &Limit) -> u64 {
        let per = Nanos::from(limit.per()).0;
        let mut worst = 0;
        for (from, &(start, _)) in self.0.iter().enumerate() {
            let mut sum = 0;
            for &(at, cost) in &self.0[from..] {
                sum += cost;
                let most = match limit.algorithm() {
                    Algorithm::TokenBucket { burst } => {
                        burst.unwrap_or(LIMIT) + LIMIT * (at - start) / per
                    }
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

/// Runs a history. What was let through of each key, and what all faults allow beyond the limit.
fn run(world: &World, history: &[Step], limit: &Limit) -> ([Admitted; 2], u64) {
    let mut admitted = [Admitted::default(), Admitted::default()];
    let mut allowance = 0;
    let most = match limit.algorithm() {
        Algorithm::TokenBucket { burst } => burst.unwrap_or(LIMIT),
        _ => LIMIT,
    };
    let mut waiting = Vec::new();
    for step in history {
        match *step {
            Step::Take(node, id, cost) => {
                let told = world.nodes[node].ask_later(id, Op::Take, cost);
                waiting.push((id, cost, told));
            }
            Step::LetGo(node, weather) => world.nodes[node].line.let_go(weather),
            Step::Peek(node, id) => drop(world.nodes[node].ask_later(id, Op::Peek, 1)),
            Step::Wait(thousandths) => world.wait(Nanos(SECOND / 1_000 * thousandths)),
            Step::Weather(None, weather) => world.weather(weather),
            Step::Weather(Some(node), weather) => world.nodes[node].line.weather(weather),
            Step::Lose => {
                // One node knows all that it was told; several each their part of it.
                allowance += if world.nodes.len() > 1 { most } else { 0 };
                world.lose_data();
            }
            Step::Reconnect => world.reconnect(),
            Step::Sweep(node) => {
                world.nodes[node].sweep();
            }
        }
        waiting.retain(|(id, cost, told)| {
            let told = told.lock().expect("no panic");
            assert!(told.len() <= 1, "told {} times", told.len());
            let Some(outcome) = told.first() else {
                return true;
            };
            if outcome.verdict == Verdict::Allowed {
                let place = usize::try_from(*id).expect("one of two");
                admitted[place].0.push((world.now().0, *cost));
                if outcome.source == Source::Fallback {
                    allowance += cost;
                }
            }
            if let Some(answer) = &outcome.answer {
                let (_, usage) = answer.binding();
                assert!(usage.remaining <= usage.max && usage.max <= most);
            }
            false
        });
    }
    (admitted, allowance)
}

/// As long as it takes until nothing that was used counts any more, a sub-window longer.
fn drained(limit: &Limit) -> Nanos {
    let periods = match limit.algorithm() {
        Algorithm::TokenBucket { burst: Some(burst) } => burst.div_ceil(LIMIT) + 1,
        _ => 2,
    };
    Nanos(periods * SECOND)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(1_000, |_| ProptestConfig::default().cases),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_node_never_lets_through_more_than_the_limit(
        limit in limits(),
        skew in -1_000..1_000_i64,
        history in collection::vec(steps(1), 1..80),
    ) {
        let world = World::new(std::slice::from_ref(&limit), &[skew], OnOutage::Share);
        // It hears the server's time.
        world.nodes[0].remaining(7);
        let (admitted, _) = run(&world, &history, &limit);
        for admitted in &admitted {
            prop_assert_eq!(admitted.beyond(&limit), 0, "{:?}", admitted);
        }
    }

    #[test]
    fn nodes_exceed_the_limit_by_what_they_answered_alone_or_was_lost_at_most(
        limit in limits(),
        skews in collection::vec(-1_000..1_000_i64, 2..=4),
        history in collection::vec(slow_steps(4), 1..80),
    ) {
        let world = World::new(std::slice::from_ref(&limit), &skews, OnOutage::Share);
        for node in &world.nodes {
            node.remaining(7);
        }
        let nodes = skews.len();
        let history: Vec<Step> = history.into_iter().map(|step| match step {
            Step::Take(node, id, cost) => Step::Take(node % nodes, id, cost),
            Step::Peek(node, id) => Step::Peek(node % nodes, id),
            Step::Weather(Some(node), weather) => Step::Weather(Some(node % nodes), weather),
            Step::Sweep(node) => Step::Sweep(node % nodes),
            Step::LetGo(node, weather) => Step::LetGo(node % nodes, weather),
            other => other,
        }).collect();
        let (admitted, allowance) = run(&world, &history, &limit);
        for admitted in &admitted {
            prop_assert!(admitted.beyond(&limit) <= allowance, "{:?}", admitted);
        }
    }

    #[test]
    fn an_outage_of_all_nodes_exceeds_the_limit_by_their_shares_at_most(
        limit in limits(),
        nodes in 2..=4_usize,
        before in collection::vec(steps(4), 0..30),
        during in collection::vec((0..4_usize, 1..=4_u64, 0..=300_u64), 1..60),
    ) {
        let world = World::new(std::slice::from_ref(&limit), &vec![0; nodes], OnOutage::Share);
        let calm: Vec<Step> = before.into_iter().filter_map(|step| match step {
            Step::Take(node, id, cost) => Some(Step::Take(node % nodes, id, cost)),
            Step::Wait(span) => Some(Step::Wait(span)),
            _ => None,
        }).collect();
        let stormy = during.into_iter().flat_map(|(node, cost, wait)| {
            [Step::Wait(wait), Step::Take(node % nodes, 0, cost)]
        });
        let mut history = calm;
        history.push(Step::Weather(None, Weather::Away));
        history.extend(stormy);
        let (admitted, _) = run(&world, &history, &limit);
        let most = match limit.algorithm() {
            Algorithm::TokenBucket { burst } => burst.unwrap_or(LIMIT),
            _ => LIMIT,
        };
        prop_assert!(admitted[0].beyond(&limit) <= most, "{:?}", admitted[0]);
    }

    #[test]
    fn after_the_storm_nobody_is_locked_out_and_the_whole_limit_comes_back(
        limit in limits(),
        nodes in 1..=3_usize,
        history in collection::vec(slow_steps(3), 1..60),
    ) {
        let world = World::new(std::slice::from_ref(&limit), &vec![0; nodes], OnOutage::Share);
        let history: Vec<Step> = history.into_iter().map(|step| match step {
            Step::Take(node, id, cost) => Step::Take(node % nodes, id, cost),
            Step::Peek(node, id) => Step::Peek(node % nodes, id),
            Step::Weather(Some(node), weather) => Step::Weather(Some(node % nodes), weather),
            Step::Sweep(node) => Step::Sweep(node % nodes),
            Step::LetGo(node, weather) => Step::LetGo(node % nodes, weather),
            other => other,
        }).collect();
        run(&world, &history, &limit);
        for node in &world.nodes {
            while node.line.on_their_way() > 0 {
                node.line.let_go(Weather::Fair);
            }
        }
        world.weather(Weather::Fair);
        for node in &world.nodes {
            // Whatever is owed, nobody waits for longer than a full bucket takes, or a window.
            let denied = node.take(0, 1);
            if let Retry::After(wait) = denied.answer.expect("an answer").binding().1.retry {
                prop_assert!(wait <= drained(&limit), "{:?}", wait);
            }
        }
        world.wait(drained(&limit));
        let node = &world.nodes[0];
        let outcome = node.take(0, 1);
        prop_assert_eq!((outcome.verdict, outcome.source), (Verdict::Allowed, Source::Authority));
        let answer = outcome.answer.expect("an answer");
        let (_, usage) = answer.binding();
        prop_assert_eq!(usage.remaining, usage.max - 1);
    }
}
