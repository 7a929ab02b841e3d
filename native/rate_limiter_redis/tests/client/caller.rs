//! A caller of the client. Each of its calls has a cost of its own, by which its answer is recognised.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rate_limiter_core::{Limit, Scale};
use rate_limiter_distributed::{
    Authority, BreakerState, Call, Failure, Meter, Op, Reply, WindowCall,
};
use rate_limiter_redis::{
    BatchEvent, BreakerEvent, Change, Client, Config, ConnectionEvent, Endpoint, EvictionEvent,
    Observer, Topology,
};

use crate::servers::until;

/// The limit of the window in these tests: no call is ever denied.
pub(crate) const MAX: u64 = 1_000_000;

/// The maximum time to wait for an expected event, also on a busy machine.
pub(crate) const MAX_WAIT: Duration = Duration::from_mins(1);

/// A client with its recorded events.
pub(crate) struct Caller {
    pub(crate) client: Arc<Client>,
    pub(crate) events: Arc<Events>,
    meter: Arc<Meter>,
}

/// The result of a call, and its duration.
pub(crate) struct Answer {
    pub(crate) result: Result<Reply, Failure>,
    pub(crate) took: Duration,
}

/// The events that an observer received.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) breaker: Mutex<Vec<(BreakerState, BreakerState, String)>>,
    pub(crate) connections: Mutex<Vec<String>>,
    pub(crate) batches: Mutex<Vec<(usize, Option<String>)>>,
    pub(crate) evictions: Mutex<Vec<(String, u64)>>,
}

impl Observer for Events {
    fn breaker(&self, event: &BreakerEvent<'_>) {
        let change = (event.from, event.to, event.reason.to_owned());
        self.breaker.lock().unwrap().push(change);
    }

    fn connection(&self, event: &ConnectionEvent<'_>) {
        let text = match event.change {
            Change::Up => "up".to_owned(),
            Change::Down(reason) => format!("down: {reason}"),
            Change::Failed(reason) => format!("failed: {reason}"),
            Change::Refused(reason) => format!("refused: {reason}"),
            other => format!("{other:?}"),
        };
        self.connections.lock().unwrap().push(text);
    }

    fn eviction(&self, event: &EvictionEvent<'_>) {
        let eviction = (event.policy.to_owned(), event.maxmemory);
        self.evictions.lock().unwrap().push(eviction);
    }

    fn batch(&self, event: &BatchEvent<'_>) {
        let failure = event.failure.map(str::to_owned);
        self.batches.lock().unwrap().push((event.calls, failure));
    }
}

impl Events {
    pub(crate) fn has_connection_event(&self, text: &str) -> bool {
        let connections = self.connections.lock().unwrap();
        connections.iter().any(|event| event.contains(text))
    }

    pub(crate) fn breaker_changed(&self, from: BreakerState, to: BreakerState) -> bool {
        let changes = self.breaker.lock().unwrap();
        changes
            .iter()
            .any(|change| (change.0, change.1) == (from, to))
    }
}

impl Caller {
    pub(crate) fn with(config: Config) -> Self {
        let events = Arc::new(Events::default());
        let client = Client::start(config, events.clone()).unwrap();
        // Hardly a token comes back during a test.
        let limit = Limit::token_bucket(1, Duration::from_mins(30)).with_burst(MAX);
        let meter = Arc::new(Meter::new("w", &limit).unwrap());
        Self {
            client,
            events,
            meter,
        }
    }

    /// Starts a client, and waits until it is connected.
    pub(crate) fn connected(config: Config) -> Self {
        let caller = Self::with(config);
        caller.wait_until_connected();
        caller
    }

    /// Waits for a connection event. The breaker may open before it: on a busy machine an earlier attempt may time out.
    pub(crate) fn wait_for_connection_event(&self, text: &str) {
        let start = Instant::now();
        while !self.events.has_connection_event(text) {
            let connections = self.events.connections.lock().unwrap().clone();
            assert!(
                start.elapsed() < MAX_WAIT,
                "expected an event with {text:?}, got: {connections:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn wait_until_open(&self) {
        until("the breaker opens", MAX_WAIT, || {
            self.events
                .breaker_changed(BreakerState::Closed, BreakerState::Open)
        });
    }

    pub(crate) fn wait_until_connected(&self) {
        let connected = || {
            let status = self.client.status();
            status.is_well() && status.servers.iter().all(|server| server.connections > 0)
        };
        until("every server is connected", MAX_WAIT, connected);
    }

    pub(crate) fn call(&self, id: &str, cost: u64) -> Call {
        Call {
            key: format!("test:{{{id}}}").into_bytes().into(),
            op: Op::Take,
            cost,
            scale: Scale::ONE,
            windows: Box::new([WindowCall {
                meter: Arc::clone(&self.meter),
                charge: None,
            }]),
            request_id: None,
            receipt: None,
            named: Vec::new(),
        }
    }

    /// Sends a call, and its answer to `answers`. A returned call is answered at once.
    pub(crate) fn send(&self, call: Call, answers: &Sender<(u64, Answer)>) {
        let (start, tag, answers) = (Instant::now(), call.cost, answers.clone());
        let done = move |result| {
            let took = start.elapsed();
            // The test may have ended.
            let _ = answers.send((tag, Answer { result, took }));
        };
        if let Err(unsent) = self.client.send(call, Box::new(done)) {
            (unsent.done)(Err(unsent.failure));
        }
    }

    /// Makes a call, and waits for its answer.
    pub(crate) fn check(&self, id: &str, cost: u64) -> Answer {
        let (answers, answer) = channel();
        self.send(self.call(id, cost), &answers);
        one(&answer)
    }

    /// Makes a call again and again, until the server answers it.
    pub(crate) fn check_until_answered(&self, id: &str, cost: u64) -> Reply {
        self.answer_and_attempts(id, cost).0
    }

    /// Makes a call about an unused id, until the server answers it, and checks that exactly this call was counted:
    /// also once for each attempt that got no answer.
    pub(crate) fn assert_counts(&self, id: &str, cost: u64) {
        let (reply, attempts) = self.answer_and_attempts(id, cost);
        let counted = (1..=attempts).any(|attempts| is_reply_to(&reply, attempts * cost));
        assert!(counted, "after {attempts} attempts: {reply:?}");
    }

    fn answer_and_attempts(&self, id: &str, cost: u64) -> (Reply, u64) {
        let start = Instant::now();
        for attempts in 1.. {
            match self.check(id, cost).result {
                Ok(reply) => return (reply, attempts),
                Err(failure) => assert!(start.elapsed() < MAX_WAIT, "{failure:?}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        unreachable!("the assertion above fails first")
    }

    /// Makes calls until the breaker opens.
    pub(crate) fn check_until_open(&self) {
        until("the breaker opens", MAX_WAIT, || self.check_and_look());
    }

    /// Makes calls until the breaker opens during a fault that ends by itself. The fault is repeated if it was too
    /// short for a busy machine to notice.
    pub(crate) fn check_until_open_during(&self, mut begin: impl FnMut()) {
        until("the breaker opens", MAX_WAIT, || {
            begin();
            (0..20).any(|_| self.check_and_look())
        });
    }

    fn check_and_look(&self) -> bool {
        assert_in_time(&self.check("any", 1));
        self.events
            .breaker_changed(BreakerState::Closed, BreakerState::Open)
    }

    /// Waits until the status shows a problem.
    pub(crate) fn wait_for_problem(&self, text: &str) {
        until(text, MAX_WAIT, || {
            let problem = self.client.status().servers[0].problem.clone();
            problem.is_some_and(|problem| problem.contains(text))
        });
    }
}

/// One server, with a timeout that is long enough on a busy machine.
pub(crate) fn with_long_timeout(endpoint: Endpoint) -> Config {
    let mut config = Config::new(Topology::Server(endpoint));
    config.timeout = MAX_WAIT;
    config
}

/// One server, with a short timeout.
pub(crate) fn with_short_timeout(endpoint: Endpoint) -> Config {
    let mut config = Config::new(Topology::Server(endpoint));
    config.timeout = Duration::from_millis(100);
    config
}

pub(crate) fn one(answers: &Receiver<(u64, Answer)>) -> Answer {
    let (_, answer) = answers
        .recv_timeout(MAX_WAIT)
        .expect("every call is answered");
    answer
}

/// Checks that a call was answered near its deadline: with an allowance for a busy machine, and far below the duration
/// of a fault that does not end by itself.
pub(crate) fn assert_in_time(answer: &Answer) {
    assert!(answer.took < Duration::from_secs(10), "{:?}", answer.took);
}

/// Returns whether a reply belongs to a call of this cost.
pub(crate) fn is_reply_to(reply: &Reply, cost: u64) -> bool {
    reply.windows.len() == 1 && reply.windows[0].usage.remaining == MAX - cost
}
