//! Nodes and their authority, which decides as a script in a server would, over a network that the test controls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rate_limiter_core::{
    Adopt, Algorithm, Answer, Clock, Epoch, Join, Key, Known, Limit, Limiter, ManualClock, Nanos,
    Options, Seed, Select, Snapshot, Tag,
};

use crate::authority::{Authority, Done, Failure, Unsent};
use crate::call::{Call, Op, Reply, WindowCall, WindowReply};
use crate::limiter::SharedLimiter;
use crate::members::Members;
use crate::options::{OnOutage, SharedOptions};
use crate::request::{Request, Response};

/// The server's time when a test begins: a multiple of all periods that tests use.
const START: Nanos = Nanos(1_700_000_000_000_000_000);

/// All nodes and their server.
pub(super) struct Cluster {
    server: Arc<Server>,
    pub(super) nodes: Vec<Node>,
}

/// One node, with a clock of its own.
pub(super) struct Node {
    pub(super) limiter: SharedLimiter,
    pub(super) uplink: Arc<Uplink>,
    pub(super) members: Arc<Members>,
    clock: Arc<ManualClock>,
}

/// What the network does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Up,
    /// The call is not sent.
    Down,
    /// The call is lost before it runs.
    RequestLost,
    /// The call runs, and its reply is lost.
    ReplyLost,
    /// The call is in flight until it is delivered.
    Delayed,
}

/// The authority as one node reaches it.
pub(super) struct Uplink {
    server: Arc<Server>,
    network: Mutex<Network>,
    delayed: Mutex<VecDeque<(Call, Done)>>,
    /// Calls that run once their sender has returned.
    ready: Mutex<VecDeque<(Call, Done, Network)>>,
    /// Held while they run, so that they run one after the other.
    running: Mutex<()>,
    sent: AtomicUsize,
}

struct Server {
    limiter: Limiter,
    limits: Vec<(Tag, Limit)>,
    clock: Arc<ManualClock>,
    seed: Seed,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    /// That of the local limiter which plays the server.
    opened: Epoch,
    epoch: u64,
}

impl Cluster {
    /// Creates one node for each skew: by how many seconds its clock is ahead of the server's.
    pub(super) fn new(limits: &[Limit], skews: &[i64], on_outage: OnOutage) -> Self {
        let limits: Vec<(Tag, Limit)> = (1..).zip(limits.iter().cloned()).collect();
        let server = Arc::new(Server::new(limits));
        let members = |rank: usize| {
            let members = Members::new(&rank.to_string(), 1, Duration::from_secs(15));
            members.report((0..skews.len()).map(|rank| rank.to_string()));
            members
        };
        let node =
            |(rank, skew): (usize, &i64)| Node::new(&server, members(rank), *skew, on_outage);
        let nodes = skews.iter().enumerate().map(node).collect();
        Self { server, nodes }
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
        let opened = self.server.open();
        self.server.state.lock().opened = opened;
        self.reconnect();
    }

    pub(super) fn reconnect(&self) {
        self.server.state.lock().epoch += 1;
    }

    /// Returns the server's state of a key.
    pub(super) fn stored(&self, id: u64) -> Option<Known> {
        self.server.known(self.server.seed.key(&name(id)))
    }
}

impl Node {
    fn new(server: &Arc<Server>, members: Members, skew: i64, on_outage: OnOutage) -> Self {
        let uplink = Arc::new(Uplink {
            server: Arc::clone(server),
            network: Mutex::new(Network::Up),
            delayed: Mutex::default(),
            ready: Mutex::default(),
            running: Mutex::default(),
            sent: AtomicUsize::new(0),
        });
        let now = START.0.saturating_add_signed(skew * 1_000_000_000);
        let clock = Arc::new(ManualClock::new(Nanos(now)));
        let members = Arc::new(members);
        let options = SharedOptions {
            clock: Clock::Manual(Arc::clone(&clock)),
            on_outage,
            members: Arc::clone(&members),
            cache_denials: true,
            remember: 10_000,
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

    /// Returns where the response will be.
    pub(super) fn submit(&self, id: u64, op: Op, cost: u64) -> Arc<Mutex<Vec<Response>>> {
        let responses = Arc::new(Mutex::new(Vec::new()));
        let done = {
            let responses = Arc::clone(&responses);
            move |response| responses.lock().push(response)
        };
        let known = self.limiter.submit(request(id, op, cost), done);
        responses.lock().extend(known.expect("all windows"));
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

pub(super) fn request(id: u64, op: Op, cost: u64) -> Request<'static> {
    Request {
        key: Seed::fixed(7).key(&name(id)),
        name: name(id).into(),
        select: Select::All,
        op,
        cost,
        request_id: None,
    }
}

fn name(id: u64) -> Vec<u8> {
    format!("api:{id}").into_bytes()
}

impl Uplink {
    pub(super) fn set_network(&self, network: Network) {
        *self.network.lock() = network;
    }

    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the number of delayed calls.
    pub(super) fn in_flight(&self) -> usize {
        self.delayed.lock().len()
    }

    /// Ends the first delayed call as the network would.
    pub(super) fn deliver(&self, network: Network) {
        let first = self.delayed.lock().pop_front();
        if let Some((call, done)) = first {
            self.end(&call, done, network);
        }
        self.run();
    }

    /// Makes the last delayed call the first.
    pub(super) fn reorder(&self) {
        self.delayed.lock().rotate_right(1);
    }

    /// Runs all calls that were sent, and those that are sent meanwhile.
    pub(super) fn run(&self) {
        let _running = self.running.lock();
        loop {
            let first = self.ready.lock().pop_front();
            let Some((call, done, network)) = first else {
                return;
            };
            self.end(&call, done, network);
        }
    }

    fn end(&self, call: &Call, done: Done, network: Network) {
        let result = match network {
            Network::Up => Ok(self.server.run(call)),
            Network::ReplyLost => {
                self.server.run(call);
                Err(Failure::Lost)
            }
            Network::RequestLost => Err(Failure::Lost),
            Network::Down | Network::Delayed => Err(Failure::Away),
        };
        done(result);
    }
}

impl Authority for Uplink {
    fn send(&self, call: Call, done: Done) -> Result<(), Unsent> {
        let network = match *self.network.lock() {
            // Calls stay in order.
            Network::Up if self.in_flight() > 0 => Network::Delayed,
            network => network,
        };
        if network == Network::Down {
            let failure = Failure::Away;
            return Err(Unsent {
                call,
                done,
                failure,
            });
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        if network == Network::Delayed {
            self.delayed.lock().push_back((call, done));
        } else {
            self.ready.lock().push_back((call, done, network));
        }
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.server.state.lock().epoch
    }
}

impl Server {
    fn new(limits: Vec<(Tag, Limit)>) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let options = Options {
            clock: Clock::Manual(Arc::clone(&clock)),
            ..Options::default()
        };
        let (limiter, opened) = Limiter::new(&limits, options).expect("valid limits");
        Self {
            limiter,
            limits,
            clock,
            seed: Seed::fixed(99),
            state: Mutex::new(State { opened, epoch: 1 }),
        }
    }

    fn open(&self) -> Epoch {
        let options = Options {
            clock: Clock::Manual(Arc::clone(&self.clock)),
            ..Options::default()
        };
        let opened = self.limiter.open(&self.limits, options);
        opened.expect("valid limits")
    }

    fn opened(&self) -> Epoch {
        self.state.lock().opened
    }

    fn known(&self, key: Key) -> Option<Known> {
        let known = self.limiter.snapshot(self.opened(), key, Select::All);
        known.expect("an open limiter")
    }

    fn run(&self, call: &Call) -> Reply {
        let key = self.seed.key(&call.key);
        let tags: Vec<Tag> = call.windows.iter().map(tag).collect();
        for (window, tag) in call.windows.iter().zip(&tags) {
            self.charge(key, window, *tag);
        }
        let scale = self.limiter.set_scale(self.opened(), call.scale);
        scale.expect("an open limiter");
        let answer = self.decide(call, key, Select::Tags(&tags));
        let known = self.known(key);
        let window = |(window, (tag, usage)): (&WindowCall, &(Tag, _))| {
            let state = known.as_ref().and_then(|known| known.window(*tag).cloned());
            WindowReply {
                usage: *usage,
                state: state.unwrap_or_else(|| unused(window.meter.limit())),
            }
        };
        let windows = call.windows.iter().zip(answer.usages());
        Reply {
            now: self.clock.now(),
            windows: windows.map(window).collect(),
        }
    }

    fn decide(&self, call: &Call, key: Key, select: Select) -> Answer {
        let (limiter, epoch, cost) = (&self.limiter, self.opened(), call.cost);
        let answer = match call.op {
            Op::Take => limiter.check_all(epoch, key, select, cost),
            Op::Peek => limiter.peek_all(epoch, key, select, cost),
            Op::Refund => limiter.refund(epoch, key, select, cost),
            Op::Reset => limiter
                .reset(epoch, key, select)
                .and_then(|()| limiter.peek_all(epoch, key, select, 0)),
        };
        answer.expect("windows of the limiter")
    }

    /// Restores what was lost, then adds what was taken. A bucket never holds more than fits.
    fn charge(&self, key: Key, window: &WindowCall, tag: Tag) {
        let Some(charge) = &window.charge else { return };
        let (limiter, epoch) = (&self.limiter, self.opened());
        let known = |state: &Snapshot| Known {
            at: self.clock.now(),
            windows: vec![(tag, state.clone())],
        };
        if let Some(least) = &charge.at_least {
            let adopted = limiter.adopt(epoch, key, &known(least), Adopt::AtLeast);
            adopted.expect("a window of the limiter");
        }
        if let Some(taken) = &charge.taken {
            let stored = limiter.snapshot(epoch, key, Select::Tags(&[tag]));
            let stored = stored.expect("a window of the limiter");
            let mut sum = known(taken).with(stored.as_ref(), Join::Sum);
            for (_, state) in &mut sum.windows {
                if let Snapshot::Bucket { debt } = state {
                    *debt = full(window.meter.limit()).min(*debt);
                }
            }
            let adopted = limiter.adopt(epoch, key, &sum, Adopt::Instead);
            adopted.expect("a window of the limiter");
        }
    }
}

/// Windows are named by their tags.
fn tag(window: &WindowCall) -> Tag {
    window.meter.name().parse().expect("a tag")
}

/// Returns the time in which a full bucket drains.
fn full(bucket: &Limit) -> Nanos {
    let burst = match bucket.algorithm() {
        Algorithm::TokenBucket { burst: Some(burst) } => burst,
        _ => bucket.limit(),
    };
    let per = Nanos::from(bucket.per()).0;
    Nanos(burst * per.div_ceil(bucket.limit()))
}

fn unused(limit: &Limit) -> Snapshot {
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => Snapshot::Bucket { debt: Nanos(0) },
        Algorithm::SlidingWindow { .. } => Snapshot::Window {
            width: Nanos(1),
            newest: 0,
            counts: Vec::new(),
        },
        Algorithm::SlidingLog => Snapshot::Log { stamps: Vec::new() },
        Algorithm::FixedWindow { .. } => Snapshot::Fixed {
            start: Nanos(0),
            per: Nanos(1),
            used: 0,
        },
    }
}
