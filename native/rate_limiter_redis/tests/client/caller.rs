//! Whoever asks: makes calls that can be told apart by their answers, and keeps what becomes of them.

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

/// What a window of these tests admits: so much that nothing is ever denied.
pub(crate) const MAX: u64 = 1_000_000;

/// Longer than any test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A client and what it tells.
pub(crate) struct Caller {
    pub(crate) client: Arc<Client>,
    pub(crate) told: Arc<Told>,
    meter: Arc<Meter>,
}

/// The answer to a call, and how long it took.
pub(crate) struct Answer {
    pub(crate) result: Result<Reply, Failure>,
    pub(crate) took: Duration,
}

/// What an observer heard.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) breaker: Mutex<Vec<(BreakerState, BreakerState, String)>>,
    pub(crate) connections: Mutex<Vec<String>>,
    pub(crate) batches: Mutex<Vec<(usize, Option<String>)>>,
    pub(crate) evictions: Mutex<Vec<(String, u64)>>,
}

impl Observer for Told {
    fn breaker(&self, event: &BreakerEvent<'_>) {
        let change = (event.from, event.to, event.reason.to_owned());
        self.breaker.lock().unwrap().push(change);
    }

    fn connection(&self, event: &ConnectionEvent<'_>) {
        let words = match event.change {
            Change::Up => "up".to_owned(),
            Change::Down(reason) => format!("down: {reason}"),
            Change::Failed(reason) => format!("failed: {reason}"),
            Change::Refused(reason) => format!("refused: {reason}"),
            other => format!("{other:?}"),
        };
        self.connections.lock().unwrap().push(words);
    }

    fn eviction(&self, event: &EvictionEvent<'_>) {
        let told = (event.policy.to_owned(), event.maxmemory);
        self.evictions.lock().unwrap().push(told);
    }

    fn batch(&self, event: &BatchEvent<'_>) {
        let failure = event.failure.map(str::to_owned);
        self.batches.lock().unwrap().push((event.calls, failure));
    }
}

impl Told {
    pub(crate) fn heard(&self, words: &str) -> bool {
        let connections = self.connections.lock().unwrap();
        connections.iter().any(|heard| heard.contains(words))
    }

    pub(crate) fn turned(&self, from: BreakerState, to: BreakerState) -> bool {
        let turns = self.breaker.lock().unwrap();
        turns.iter().any(|turn| (turn.0, turn.1) == (from, to))
    }
}

impl Caller {
    pub(crate) fn with(config: Config) -> Self {
        let told = Arc::new(Told::default());
        let client = Client::start(config, told.clone()).unwrap();
        let limit = Limit::fixed_window(MAX, Duration::from_hours(1));
        let meter = Arc::new(Meter::new("w", &limit).unwrap());
        Self {
            client,
            told,
            meter,
        }
    }

    /// One whose connection is up.
    pub(crate) fn ready(config: Config) -> Self {
        let caller = Self::with(config);
        caller.wait_until_well();
        caller
    }

    /// Waits for words. They need not come before the breaker opens: on a busy machine an attempt may time out first.
    pub(crate) fn wait_until_heard(&self, words: &str) {
        let start = Instant::now();
        while !self.told.heard(words) {
            let connections = self.told.connections.lock().unwrap().clone();
            assert!(
                start.elapsed() < PATIENCE,
                "not heard: {words}, but: {connections:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn wait_until_open(&self) {
        until("the breaker opens", PATIENCE, || {
            self.told.turned(BreakerState::Closed, BreakerState::Open)
        });
    }

    pub(crate) fn wait_until_well(&self) {
        let well = || {
            let status = self.client.status();
            status.is_well() && status.servers.iter().all(|server| server.connections > 0)
        };
        until("every server is connected", PATIENCE, well);
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
        }
    }

    /// Sends; the answer comes by itself. One that is handed back is answered at once.
    pub(crate) fn send(&self, call: Call, answers: &Sender<(u64, Answer)>) {
        let (start, tag, answers) = (Instant::now(), call.cost, answers.clone());
        let done = move |result| {
            let took = start.elapsed();
            // Whoever asked may have gone.
            let _ = answers.send((tag, Answer { result, took }));
        };
        if let Err(unsent) = self.client.send(call, Box::new(done)) {
            (unsent.done)(Err(unsent.failure));
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&self, id: &str, cost: u64) -> Answer {
        let (answers, answer) = channel();
        self.send(self.call(id, cost), &answers);
        one(&answer)
    }

    /// Asks until it is answered by the server.
    pub(crate) fn ask_until_answered(&self, id: &str, cost: u64) -> Reply {
        self.answer_and_attempts(id, cost).0
    }

    /// Asks for something that was not asked for before, until it is answered by the server, which says that just this
    /// was counted: an attempt that heard no answer may have been, too.
    pub(crate) fn assert_counts(&self, id: &str, cost: u64) {
        let (reply, attempts) = self.answer_and_attempts(id, cost);
        let counted = (1..=attempts).any(|attempts| is_for(&reply, attempts * cost));
        assert!(counted, "after {attempts} attempts: {reply:?}");
    }

    fn answer_and_attempts(&self, id: &str, cost: u64) -> (Reply, u64) {
        let start = Instant::now();
        for attempts in 1.. {
            match self.ask(id, cost).result {
                Ok(reply) => return (reply, attempts),
                Err(failure) => assert!(start.elapsed() < PATIENCE, "{failure:?}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        unreachable!("it gives up before")
    }

    /// Asks until the breaker is open.
    pub(crate) fn ask_until_open(&self) {
        until("the breaker opens", PATIENCE, || self.ask_and_look());
    }

    /// Asks until the breaker is open, through something that ends by itself: it begins again where the machine left
    /// nobody the time to notice.
    pub(crate) fn ask_until_open_through(&self, mut begin: impl FnMut()) {
        until("the breaker opens", PATIENCE, || {
            begin();
            (0..20).any(|_| self.ask_and_look())
        });
    }

    fn ask_and_look(&self) -> bool {
        assert_in_time(&self.ask("whoever", 1));
        self.told.turned(BreakerState::Closed, BreakerState::Open)
    }

    /// Waits until this is what is wrong with the server.
    pub(crate) fn wait_for_problem(&self, words: &str) {
        until(words, PATIENCE, || {
            let problem = self.client.status().servers[0].problem.clone();
            problem.is_some_and(|problem| problem.contains(words))
        });
    }
}

/// One server, and time for every answer, however busy the machine is.
pub(crate) fn patient(endpoint: Endpoint) -> Config {
    let mut config = Config::new(Topology::Server(endpoint));
    config.timeout = PATIENCE;
    config
}

/// One server, and little time.
pub(crate) fn hasty(endpoint: Endpoint) -> Config {
    let mut config = Config::new(Topology::Server(endpoint));
    config.timeout = Duration::from_millis(100);
    config
}

pub(crate) fn one(answers: &Receiver<(u64, Answer)>) -> Answer {
    let (_, answer) = answers
        .recv_timeout(PATIENCE)
        .expect("every call is answered");
    answer
}

/// By its deadline, as far as a busy machine lets anybody say so: far below what a fault lasts that nobody ends.
pub(crate) fn assert_in_time(answer: &Answer) {
    assert!(answer.took < Duration::from_secs(10), "{:?}", answer.took);
}

/// Whether a reply is that to a call of this cost.
pub(crate) fn is_for(reply: &Reply, cost: u64) -> bool {
    reply.windows.len() == 1 && reply.windows[0].remaining == MAX - cost
}
