//! The nodes of a test and their server. The test controls all clocks, and what happens to each call.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rate_limiter_core::{Clock, Known, Limit, ManualClock, Nanos, Scale, Seed, Select, Tag};

use crate::authority::Authority;
use crate::call::{Op, RequestId};
use crate::limiter::SharedLimiter;
use crate::members::{Members, Share};
use crate::options::{OnOutage, SharedOptions};
use crate::request::{Limits, Request, Response};

use super::server::{Server, START};
use super::uplink::{Network, Uplink};

pub(super) const SECOND: Nanos = Nanos(1_000_000_000);

/// All nodes and their server.
pub(super) struct Cluster {
    pub(super) server: Arc<Server>,
    pub(super) nodes: Vec<Node>,
}

/// One node, with a clock of its own.
pub(super) struct Node {
    pub(super) limiter: SharedLimiter,
    pub(super) uplink: Arc<Uplink>,
    pub(super) members: Arc<Members>,
    clock: Arc<ManualClock>,
}

impl Cluster {
    /// Creates one node for each skew: by how many seconds its clock is ahead of the server's.
    pub(super) fn new(limits: &[Limit], skews: &[i64], on_outage: OnOutage) -> Self {
        let limits: Vec<(Tag, Limit)> = (1..).zip(limits.iter().cloned()).collect();
        let server = Arc::new(Server::new(limits));
        let members = |rank: usize| {
            let members = Members::new(&rank.to_string(), 1, Duration::from_secs(15));
            let [nodes, rank] = [skews.len(), rank].map(|number| u32::try_from(number).unwrap());
            members.report(nodes, Share { nodes, rank });
            members
        };
        let node =
            |(rank, skew): (usize, &i64)| Node::new(&server, members(rank), *skew, on_outage);
        let nodes = skews.iter().enumerate().map(node).collect();
        Self { server, nodes }
    }

    /// Creates nodes with a bucket of 12 tokens, one a second, and correct clocks.
    pub(super) fn of_buckets(nodes: usize, on_outage: OnOutage) -> Self {
        let limit = Limit::token_bucket(12, Duration::from_secs(12));
        Self::new(&[limit], &vec![0; nodes], on_outage)
    }

    pub(super) fn now(&self) -> Nanos {
        self.server.clock.now()
    }

    /// Advances all clocks.
    pub(super) fn advance(&self, span: Nanos) {
        self.server.clock.advance(span);
        for node in &self.nodes {
            node.clock.advance(span);
        }
    }

    pub(super) fn set_network(&self, network: Network) {
        for node in &self.nodes {
            node.uplink.set_network(network);
        }
    }

    /// The server returns without its data, and in a new epoch.
    pub(super) fn lose_data(&self) {
        self.server.lose_data();
    }

    /// The server forgets all keys, and stays connected.
    pub(super) fn forget(&self) {
        self.server.forget();
    }

    pub(super) fn reconnect(&self) {
        self.server.new_epoch();
    }

    /// Returns the server's state of a key.
    pub(super) fn stored(&self, id: u64) -> Option<Known> {
        self.server.stored(&name(id))
    }
}

impl Node {
    fn new(server: &Arc<Server>, members: Members, skew: i64, on_outage: OnOutage) -> Self {
        let uplink = Arc::new(Uplink::new(Arc::clone(server)));
        let now = START.0.saturating_add_signed(skew * 1_000_000_000);
        let clock = Arc::new(ManualClock::new(Nanos(now)));
        let members = Arc::new(members);
        let options = SharedOptions {
            clock: Clock::Manual(Arc::clone(&clock)),
            on_outage,
            members: Arc::clone(&members),
            cache_denials: true,
            remember: 10_000,
            threshold: Some(Scale::from_ppm(800_000)),
        };
        let named = server.limits.iter();
        let named: Vec<_> = named
            .map(|(tag, limit)| (*tag, tag.to_string(), limit))
            .collect();
        let windows = named.iter();
        let windows: Vec<(Tag, &str, Limit)> = windows
            .map(|(tag, name, limit)| (*tag, name.as_str(), (*limit).clone()))
            .collect();
        let authority = Arc::clone(&uplink) as Arc<dyn Authority>;
        let limiter = SharedLimiter::new(&windows, options, authority).expect("valid limits");
        Self {
            limiter,
            uplink,
            members,
            clock,
        }
    }

    /// Returns the response, if it arrives before the call is delayed.
    pub(super) fn request(&self, id: u64, op: Op, cost: u64) -> Option<Response> {
        let responses = self.submit(id, op, cost);
        let responses = responses.lock();
        assert!(responses.len() <= 1, "{} responses", responses.len());
        responses.first().cloned()
    }

    /// Takes a cost under a name.
    pub(super) fn take_named(&self, id: u64, name: &str, cost: u64) -> Option<Response> {
        let responses = self.submit_request(named(id, name, cost));
        let responses = responses.lock();
        responses.first().cloned()
    }

    /// Returns where the response will be.
    pub(super) fn submit(&self, id: u64, op: Op, cost: u64) -> Arc<Mutex<Vec<Response>>> {
        self.submit_request(request(id, op, cost))
    }

    pub(super) fn submit_request(&self, request: Request<'static>) -> Arc<Mutex<Vec<Response>>> {
        let responses = Arc::new(Mutex::new(Vec::new()));
        let receive = {
            let (responses, limiter) = (Arc::clone(&responses), self.limiter.clone());
            move |response| {
                limiter.count(&response);
                responses.lock().push(response);
            }
        };
        let known = self.limiter.submit(request, receive.clone());
        known.expect("all windows").into_iter().for_each(receive);
        self.uplink.run();
        responses
    }

    pub(super) fn take(&self, id: u64, cost: u64) -> Response {
        self.request(id, Op::Take, cost).expect("a response")
    }

    pub(super) fn sweep(&self) {
        self.limiter.sweep(10_000);
        self.uplink.run();
    }

    /// Returns what is left of the first window.
    pub(super) fn remaining(&self, id: u64) -> u64 {
        let response = self.request(id, Op::Peek, 0).expect("a response");
        response.answer.expect("an answer").usages()[0].1.remaining
    }
}

/// A request that is charged once, however often it is made.
pub(super) fn named(id: u64, name: &str, cost: u64) -> Request<'static> {
    Request {
        request_id: Some(RequestId {
            id: name.as_bytes().into(),
            keep: Nanos(3_600 * SECOND.0),
        }),
        ..request(id, Op::Take, cost)
    }
}

pub(super) fn request(id: u64, op: Op, cost: u64) -> Request<'static> {
    Request {
        key: Seed::fixed(7).key(&name(id)),
        name: name(id).into(),
        select: Select::All,
        limits: Limits::Own,
        op,
        cost,
        request_id: None,
        receipt: None,
    }
}

fn name(id: u64) -> Vec<u8> {
    format!("api:{id}").into_bytes()
}
