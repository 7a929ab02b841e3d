//! A server that decides as the script does, and the lines of the nodes to it, on which anything can happen.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rate_limiter_core::{
    Adopt, Algorithm, Answer, Clock, Epoch, Join, Key, Known, Limit, Limiter, ManualClock, Nanos,
    Options, Seed, Select, Snapshot, Tag,
};

use crate::authority::{Authority, Done, Failure, Unsent};
use crate::call::{Call, Op, Reply, WindowCall, WindowReply};
use crate::limiter::SharedLimiter;
use crate::members::Members;
use crate::meter::Meter;
use crate::options::{OnOutage, SharedOptions};
use crate::request::{Request, Response};

/// When every history begins, in the server's time: a multiple of the periods that tests use.
pub(super) const START: Nanos = Nanos(1_700_000_000_000_000_000);

/// All nodes and their server.
pub(super) struct World {
    server: Arc<Server>,
    pub(super) nodes: Vec<Node>,
}

/// One node, with a clock of its own.
pub(super) struct Node {
    pub(super) limiter: SharedLimiter,
    pub(super) line: Arc<Line>,
    clock: Arc<ManualClock>,
    pub(super) members: Arc<Members>,
}

/// What becomes of a call on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    /// It is not sent.
    Away,
    /// It is lost on the way there.
    LostThere,
    /// It runs, and the answer is lost.
    LostBack,
    /// It is on its way until it is let go.
    Held,
}

pub(super) struct Line {
    server: Arc<Server>,
    weather: Mutex<Weather>,
    held: Mutex<VecDeque<(Call, Done)>>,
    /// Calls that were sent.
    sent: Mutex<usize>,
    /// Those that arrive as soon as whoever sent them has returned.
    arriving: Mutex<VecDeque<(Call, Done, Weather)>>,
    /// They arrive one after the other.
    gate: Mutex<()>,
}

struct Server {
    limiter: Limiter,
    state: Mutex<State>,
    clock: Arc<ManualClock>,
    windows: Vec<(Tag, Meter)>,
    limits: Vec<(Tag, Limit)>,
    seed: Seed,
}

struct State {
    epoch: Epoch,
    connection: u64,
}

impl World {
    /// As many nodes as there are skews: what each node's clock is ahead of the server's, in seconds.
    pub(super) fn new(limits: &[Limit], skews: &[i64], on_outage: OnOutage) -> Self {
        let limits: Vec<(Tag, Limit)> = (1..).zip(limits.iter().cloned()).collect();
        let server = Arc::new(Server::new(&limits));
        let count = skews.len();
        let node = |(rank, skew): (usize, &i64)| Node::new(&server, rank, count, *skew, on_outage);
        let nodes = skews.iter().enumerate().map(node).collect();
        Self { server, nodes }
    }

    pub(super) fn now(&self) -> Nanos {
        self.server.clock.now()
    }

    /// Time passes for everybody.
    pub(super) fn wait(&self, span: Nanos) {
        self.server.clock.advance(span);
        for node in &self.nodes {
            node.clock.advance(span);
        }
    }

    pub(super) fn weather(&self, weather: Weather) {
        for node in &self.nodes {
            node.line.weather(weather);
        }
    }

    /// The server comes back empty, and everybody has to reach it anew.
    pub(super) fn lose_data(&self) {
        self.server.open();
        self.reconnect();
    }

    pub(super) fn reconnect(&self) {
        self.server.state.lock().expect("no panic").connection += 1;
    }

    /// What the server knows of a key.
    pub(super) fn stored(&self, id: u64) -> Option<Known> {
        self.server.known(self.server.seed.key(&name(id)))
    }
}

impl Node {
    fn new(
        server: &Arc<Server>,
        rank: usize,
        count: usize,
        skew: i64,
        on_outage: OnOutage,
    ) -> Self {
        let line = Arc::new(Line {
            server: Arc::clone(server),
            weather: Mutex::new(Weather::Fair),
            held: Mutex::default(),
            sent: Mutex::default(),
            arriving: Mutex::default(),
            gate: Mutex::default(),
        });
        let now = START.0.saturating_add_signed(skew * 1_000_000_000);
        let clock = Arc::new(ManualClock::new(Nanos(now)));
        let members = Members::new(&rank.to_string(), 1, Duration::from_secs(15));
        members.report((0..count).map(|rank| rank.to_string()));
        let members = Arc::new(members);
        let options = SharedOptions {
            clock: Clock::Manual(Arc::clone(&clock)),
            on_outage,
            members: Arc::clone(&members),
            cache_denials: true,
            remember: 10_000,
        };
        let names: Vec<String> = server
            .limits
            .iter()
            .map(|(tag, _)| tag.to_string())
            .collect();
        let windows: Vec<(Tag, &str, Limit)> = server
            .limits
            .iter()
            .zip(&names)
            .map(|((tag, limit), name)| (*tag, name.as_str(), limit.clone()))
            .collect();
        let authority = Arc::clone(&line) as Arc<dyn Authority>;
        let limiter = SharedLimiter::new(&windows, options, authority).expect("valid limits");
        Self {
            limiter,
            line,
            clock,
            members,
        }
    }

    /// The outcome, where it is known by the time that the call was made.
    pub(super) fn ask(&self, id: u64, op: Op, cost: u64) -> Option<Response> {
        let told = self.ask_later(id, op, cost);
        let told = told.lock().expect("no panic");
        assert!(told.len() <= 1, "told {} times", told.len());
        told.first().cloned()
    }

    /// Where the outcomes will be.
    pub(super) fn ask_later(&self, id: u64, op: Op, cost: u64) -> Arc<Mutex<Vec<Response>>> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let done = {
            let told = Arc::clone(&told);
            move |outcome| told.lock().expect("no panic").push(outcome)
        };
        let known = self.limiter.submit(question(id, op, cost), done);
        let known = known.expect("windows of its own");
        told.lock().expect("no panic").extend(known);
        self.line.arrive();
        told
    }

    pub(super) fn take(&self, id: u64, cost: u64) -> Response {
        self.ask(id, Op::Take, cost).expect("an answer at once")
    }

    pub(super) fn sweep(&self) {
        self.limiter.sweep(10_000);
        self.line.arrive();
    }

    /// What is left of the first window.
    pub(super) fn remaining(&self, id: u64) -> u64 {
        let outcome = self.ask(id, Op::Peek, 0).expect("an answer at once");
        outcome.answer.expect("an answer").usages()[0].1.remaining
    }
}

pub(super) fn question(id: u64, op: Op, cost: u64) -> Request<'static> {
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
    format!("test:{{api:{id}}}").into_bytes()
}

impl Line {
    pub(super) fn weather(&self, weather: Weather) {
        *self.weather.lock().expect("no panic") = weather;
    }

    pub(super) fn sent(&self) -> usize {
        *self.sent.lock().expect("no panic")
    }

    pub(super) fn on_their_way(&self) -> usize {
        self.held.lock().expect("no panic").len()
    }

    /// Lets the first of those go that are on their way.
    pub(super) fn let_go(&self, weather: Weather) {
        let first = self.held.lock().expect("no panic").pop_front();
        if let Some((call, done)) = first {
            self.go(&call, done, weather);
        }
        self.arrive();
    }

    /// The last of those that are on their way becomes the first.
    pub(super) fn overtake(&self) {
        self.held.lock().expect("no panic").rotate_right(1);
    }

    /// Whatever was sent arrives, and what is sent thereupon.
    pub(super) fn arrive(&self) {
        let _gate = self.gate.lock().expect("no panic");
        loop {
            let first = self.arriving.lock().expect("no panic").pop_front();
            let Some((call, done, weather)) = first else {
                return;
            };
            self.go(&call, done, weather);
        }
    }

    fn go(&self, call: &Call, done: Done, weather: Weather) {
        let result = match weather {
            Weather::Fair => Ok(self.server.run(call)),
            Weather::LostBack => {
                self.server.run(call);
                Err(Failure::Lost)
            }
            Weather::LostThere => Err(Failure::Lost),
            Weather::Away | Weather::Held => Err(Failure::Away),
        };
        done(result);
    }
}

impl Authority for Line {
    fn send(&self, call: Call, done: Done) -> Result<(), Unsent> {
        let mut weather = *self.weather.lock().expect("no panic");
        if weather == Weather::Fair && self.on_their_way() > 0 {
            // Nobody overtakes.
            weather = Weather::Held;
        }
        match weather {
            Weather::Away => {
                return Err(Unsent {
                    call,
                    done,
                    failure: Failure::Away,
                })
            }
            Weather::Held => self.held.lock().expect("no panic").push_back((call, done)),
            other => {
                *self.sent.lock().expect("no panic") += 1;
                let mut arriving = self.arriving.lock().expect("no panic");
                arriving.push_back((call, done, other));
                return Ok(());
            }
        }
        *self.sent.lock().expect("no panic") += 1;
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.server.state.lock().expect("no panic").connection
    }
}

impl Server {
    fn new(limits: &[(Tag, Limit)]) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let limiter = Limiter::vacant();
        let options = Options {
            clock: Clock::Manual(Arc::clone(&clock)),
            ..Options::default()
        };
        let epoch = limiter.open(limits, options).expect("valid limits");
        let meter = |(tag, limit): &(Tag, Limit)| {
            let meter = Meter::new(&tag.to_string(), limit).expect("a valid limit");
            (*tag, meter)
        };
        Self {
            limiter,
            state: Mutex::new(State {
                epoch,
                connection: 1,
            }),
            clock,
            windows: limits.iter().map(meter).collect(),
            limits: limits.to_vec(),
            seed: Seed::fixed(99),
        }
    }

    fn open(&self) {
        let options = Options {
            clock: Clock::Manual(Arc::clone(&self.clock)),
            ..Options::default()
        };
        let epoch = self.limiter.open(&self.limits, options);
        self.state.lock().expect("no panic").epoch = epoch.expect("valid limits");
    }

    fn epoch(&self) -> Epoch {
        self.state.lock().expect("no panic").epoch
    }

    fn known(&self, key: Key) -> Option<Known> {
        let known = self.limiter.snapshot(self.epoch(), key, Select::All);
        known.expect("open")
    }

    fn run(&self, call: &Call) -> Reply {
        let key = self.seed.key(&call.key);
        let tags: Vec<Tag> = call.windows.iter().map(|window| self.tag(window)).collect();
        for (window, tag) in call.windows.iter().zip(&tags) {
            self.charge(key, window, *tag);
        }
        let scale = self.limiter.set_scale(self.epoch(), call.scale);
        scale.expect("open");
        let answer = self.decide(call, key, Select::Tags(&tags));
        let known = self.known(key);
        let rows = answer.usages().iter().map(|(tag, usage)| {
            let state = known.as_ref().and_then(|known| known.window(*tag).cloned());
            WindowReply {
                max: usage.max,
                remaining: usage.remaining,
                reset_after: usage.reset_after,
                retry: usage.retry,
                state: state.unwrap_or_else(|| self.blank(*tag)),
            }
        });
        Reply {
            now: self.clock.now(),
            windows: rows.collect(),
        }
    }

    fn decide(&self, call: &Call, key: Key, select: Select) -> Answer {
        let (limiter, epoch, cost) = (&self.limiter, self.epoch(), call.cost);
        let answer = match call.op {
            Op::Take => limiter.check_all(epoch, key, select, cost),
            Op::Peek => limiter.peek_all(epoch, key, select, cost),
            Op::Refund => limiter.refund(epoch, key, select, cost),
            Op::Reset => limiter
                .reset(epoch, key, select)
                .and_then(|()| limiter.peek_all(epoch, key, select, 0)),
        };
        answer.expect("known windows")
    }

    /// At least what is said, and then on top what is said; a bucket is never more than empty.
    fn charge(&self, key: Key, window: &WindowCall, tag: Tag) {
        let Some(owed) = &window.charge else { return };
        let known = |state: &Snapshot| Known {
            at: self.clock.now(),
            windows: vec![(tag, state.clone())],
        };
        if let Some(least) = &owed.at_least {
            let adopted = self
                .limiter
                .adopt(self.epoch(), key, &known(least), Adopt::AtLeast);
            adopted.expect("a known window");
        }
        if let Some(taken) = &owed.taken {
            let taken = known(taken);
            let stored = self
                .limiter
                .snapshot(self.epoch(), key, Select::Tags(&[tag]));
            let stored = stored.expect("a known window");
            let mut sum = taken.with(stored.as_ref(), Join::Sum);
            for (_, state) in &mut sum.windows {
                if let (Snapshot::Bucket { debt }, Some(bucket)) = (state, self.bucket(tag)) {
                    *debt = bucket.min(*debt);
                }
            }
            let adopted = self.limiter.adopt(self.epoch(), key, &sum, Adopt::Instead);
            adopted.expect("a known window");
        }
    }

    /// What a bucket holds, in time.
    fn bucket(&self, tag: Tag) -> Option<Nanos> {
        let (_, limit) = self.limits.iter().find(|(other, _)| *other == tag)?;
        let Algorithm::TokenBucket { burst } = limit.algorithm() else {
            return None;
        };
        let per = Nanos::from(limit.per()).0;
        let interval = per.div_ceil(limit.limit());
        Some(Nanos(burst.unwrap_or(limit.limit()) * interval))
    }

    fn blank(&self, tag: Tag) -> Snapshot {
        let (_, limit) = &self.limits[usize::try_from(tag - 1).expect("a few")];
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

    fn tag(&self, window: &WindowCall) -> Tag {
        let mut windows = self.windows.iter();
        let found = windows.find(|(_, meter)| meter == &*window.meter);
        found.expect("a window of its own").0
    }
}
