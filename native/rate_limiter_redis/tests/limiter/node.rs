//! A node: a client, the members, and a shared limiter.

use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::Duration;

use rate_limiter_core::{Clock, Limit, Seed, Select};
use rate_limiter_distributed::{
    Authority, Limits, Members, OnOutage, Op, Request, Response, SharedLimiter, SharedOptions,
    Source,
};
use rate_limiter_redis::{Client, Config, Endpoint, Heartbeat, Topology};

use crate::servers::until;

/// The maximum time to wait for an expected event, also on a busy machine.
pub(crate) const MAX_WAIT: Duration = Duration::from_mins(1);

pub(crate) struct Node {
    pub(crate) client: Arc<Client>,
    pub(crate) members: Arc<Members>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) limiter: SharedLimiter,
}

impl Node {
    pub(crate) fn new(name: &str, endpoint: Endpoint, limit: &Limit) -> Self {
        Self::with_clock(name, endpoint, limit, Clock::Monotonic)
    }

    /// Starts a node with a clock. The node measures durations by it, and uses its time until Redis has replied.
    pub(crate) fn with_clock(name: &str, endpoint: Endpoint, limit: &Limit, clock: Clock) -> Self {
        let node = Self::disconnected(name, endpoint, limit, clock);
        node.wait_until_connected();
        node
    }

    /// Starts a node without waiting for its server.
    pub(crate) fn disconnected(
        name: &str,
        endpoint: Endpoint,
        limit: &Limit,
        clock: Clock,
    ) -> Self {
        Self::with_topology(name, Topology::Server(endpoint), limit, clock)
    }

    pub(crate) fn with_topology(
        name: &str,
        topology: Topology,
        limit: &Limit,
        clock: Clock,
    ) -> Self {
        let mut config = Config::new(topology);
        config.timeout = Duration::from_secs(5);
        let client = Client::start(config, Arc::new(())).unwrap();
        let members = Arc::new(Members::new(name, 1, Duration::from_secs(15)));
        let options = SharedOptions {
            clock,
            on_outage: OnOutage::Share,
            members: Arc::clone(&members),
            cache_denials: true,
            remember: 1_000,
            threshold: None,
        };
        let authority = Arc::clone(&client) as Arc<dyn Authority>;
        let windows = [(1, "only", limit.clone())];
        let limiter = SharedLimiter::new(&windows, options, authority).unwrap();
        Self {
            client,
            heartbeat: Heartbeat::new("test", Arc::clone(&members)),
            members,
            limiter,
        }
    }

    pub(crate) fn wait_until_connected(&self) {
        until("the server is connected", MAX_WAIT, || {
            let status = self.client.status();
            status.is_well() && status.servers.iter().all(|server| server.connections > 0)
        });
    }

    pub(crate) fn call(&self, id: &str, op: Op, cost: u64) -> Response {
        let (answers, answer) = channel();
        let request = Request {
            key: Seed::fixed(7).key(id.as_bytes()),
            name: format!("test:{{api:{id}}}").into_bytes().into(),
            select: Select::All,
            limits: Limits::Own,
            op,
            cost,
            request_id: None,
            receipt: None,
        };
        let done = move |response| answers.send(response).unwrap();
        let known = self.limiter.submit(request, done).unwrap();
        known.unwrap_or_else(|| answer.recv_timeout(MAX_WAIT).expect("an answer"))
    }

    /// Waits until calls are answered by Redis or by the fallback.
    pub(crate) fn wait_for(&self, source: Source) {
        until("the source of answers changes", MAX_WAIT, || {
            self.call("another", Op::Peek, 0).source == source
        });
    }

    pub(crate) fn remaining(&self, id: &str) -> u64 {
        let response = self.call(id, Op::Peek, 0);
        response.answer.expect("an answer").binding().1.remaining
    }
}
