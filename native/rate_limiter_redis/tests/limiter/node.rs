//! One node: a client, what it knows of the others, and a limiter.

use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::Duration;

use rate_limiter_core::{Clock, Limit, Seed, Select};
use rate_limiter_distributed::{
    Authority, Members, OnOutage, Op, Request, Response, SharedLimiter, SharedOptions,
};
use rate_limiter_redis::{
    BatchEvent, BreakerEvent, Client, Config, ConnectionEvent, Endpoint, Heartbeat, Observer,
    Topology,
};

use crate::servers::until;

/// Longer than any test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Node {
    pub(crate) client: Arc<Client>,
    pub(crate) members: Arc<Members>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) limiter: SharedLimiter,
}

/// Hears nothing.
struct Deaf;

impl Observer for Deaf {
    fn breaker(&self, _: &BreakerEvent<'_>) {}
    fn connection(&self, _: &ConnectionEvent<'_>) {}
    fn batch(&self, _: &BatchEvent<'_>) {}
}

impl Node {
    pub(crate) fn new(name: &str, endpoint: Endpoint, limit: &Limit) -> Self {
        Self::with_clock(name, endpoint, limit, Clock::Monotonic)
    }

    /// One whose own clock, by which it measures spans and knows the time until it hears Redis's, is this one.
    pub(crate) fn with_clock(name: &str, endpoint: Endpoint, limit: &Limit, clock: Clock) -> Self {
        let node = Self::alone(name, endpoint, limit, clock);
        node.wait_until_well();
        node
    }

    /// One that has not waited for its server.
    pub(crate) fn alone(name: &str, endpoint: Endpoint, limit: &Limit, clock: Clock) -> Self {
        let mut config = Config::new(Topology::Server(endpoint));
        config.timeout = Duration::from_secs(5);
        let client = Client::start(config, Arc::new(Deaf)).unwrap();
        let members = Arc::new(Members::new(name, 1, Duration::from_secs(15)));
        let options = SharedOptions {
            clock,
            on_outage: OnOutage::Share,
            members: Arc::clone(&members),
            cache_denials: true,
            remember: 1_000,
        };
        let transport = Arc::clone(&client) as Arc<dyn Authority>;
        let windows = [(1, "only", limit.clone())];
        let limiter = SharedLimiter::new(&windows, options, transport).unwrap();
        Self {
            client,
            heartbeat: Heartbeat::new("test", Arc::clone(&members)),
            members,
            limiter,
        }
    }

    pub(crate) fn wait_until_well(&self) {
        until("the server is connected", PATIENCE, || {
            let status = self.client.status();
            status.is_well() && status.servers.iter().all(|server| server.connections > 0)
        });
    }

    pub(crate) fn ask(&self, id: &str, op: Op, cost: u64) -> Response {
        let (answers, answer) = channel();
        let ask = Request {
            key: Seed::fixed(7).key(id.as_bytes()),
            name: format!("test:{{api:{id}}}").into_bytes().into(),
            select: Select::All,
            op,
            cost,
            request_id: None,
        };
        let done = move |outcome| answers.send(outcome).unwrap();
        let known = self.limiter.submit(ask, done).unwrap();
        known.unwrap_or_else(|| answer.recv_timeout(PATIENCE).expect("an answer"))
    }

    pub(crate) fn remaining(&self, id: &str) -> u64 {
        let outcome = self.ask(id, Op::Peek, 0);
        outcome.answer.expect("an answer").binding().1.remaining
    }
}
