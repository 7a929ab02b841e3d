//! A limiter in Redis with a test's clock, and the calls of the naive model.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rate_limiter_core::{Limit, Nanos, Scale, Tag, Usage};
use rate_limiter_distributed::{Call, Failure, Meter, Op, Reply, WindowCall};
use rate_limiter_redis::wire::lean;
use rate_limiter_redis::{script, wire, Kind, Namespace};
use redis::{Client, Connection, FromRedisValue, ToRedisArgs, Value};

use crate::model;
use crate::servers::Server;

pub(crate) struct RedisLimiter {
    pub(crate) connection: Connection,
    server: Server,
    namespace: Namespace,
    meters: Vec<(Tag, Arc<Meter>)>,
    scale: Scale,
    /// Whether the lean script decides what it can, or the general one all calls.
    is_lean: bool,
}

/// The most calls of one command.
const MAX_GROUP: usize = 256;

impl RedisLimiter {
    pub(crate) fn new(limits: &[(Tag, Limit)]) -> Self {
        Self::on(Server::start(), limits)
    }

    pub(crate) fn on(server: Server, limits: &[(Tag, Limit)]) -> Self {
        let mut limiter = Self {
            connection: connect(&server),
            server,
            namespace: Namespace::new("", ""),
            meters: Vec::new(),
            scale: Scale::ONE,
            is_lean: false,
        };
        limiter.open("test", limits);
        limiter
    }

    /// Returns the same limiter twice: decided by the general script, and by the lean one where it can.
    pub(crate) fn each(limits: &[(Tag, Limit)]) -> impl Iterator<Item = Self> + '_ {
        [false, true].into_iter().map(|is_lean| Self {
            is_lean,
            ..Self::new(limits)
        })
    }

    /// Switches to a new limiter, with keys of its own.
    pub(crate) fn open(&mut self, name: &str, limits: &[(Tag, Limit)]) {
        self.namespace = Namespace::new("rl", name);
        self.meters = limits
            .iter()
            .map(|(tag, limit)| (*tag, meter(*tag, limit)))
            .collect();
        self.scale = Scale::ONE;
    }

    /// Returns the answer to a call; nothing for a reset or a change of the limiter.
    pub(crate) fn call(&mut self, now: u64, call: &model::Call) -> Vec<(Tag, Usage)> {
        self.calls(now, std::slice::from_ref(call)).remove(0)
    }

    /// Returns the answers to calls that are sent as one command. A change of the limiter applies to the calls after
    /// it.
    pub(crate) fn calls(&mut self, now: u64, calls: &[model::Call]) -> Vec<Vec<(Tag, Usage)>> {
        let mut written = Vec::new();
        for call in calls {
            written.push(self.write(call));
        }
        let sent: Vec<&Call> = written.iter().flatten().map(|(call, _)| call).collect();
        let mut replies = if sent.is_empty() {
            Vec::new()
        } else {
            self.send(&sent, Some(now))
        }
        .into_iter();
        let answers = written.iter().map(|written| {
            let Some((call, tags)) = written else {
                return Vec::new();
            };
            let reply = replies
                .next()
                .expect("one reply per call")
                .expect("an answer");
            if call.op == Op::Reset {
                return Vec::new();
            }
            tags.iter()
                .copied()
                .zip(reply.windows.iter().map(|window| window.usage))
                .collect()
        });
        answers.collect()
    }

    pub(crate) fn send(
        &mut self,
        calls: &[&Call],
        now: Option<u64>,
    ) -> Vec<Result<Reply, Failure>> {
        if self.is_lean {
            self.send_lean(calls, now)
        } else {
            self.send_general(calls, now)
        }
    }

    fn send_general(&mut self, calls: &[&Call], now: Option<u64>) -> Vec<Result<Reply, Failure>> {
        let command = wire::encode(calls.iter().copied(), now.map(Nanos));
        let reply: Value = command.query(&mut self.connection).expect("a reply");
        wire::decode(calls.iter().copied(), &reply)
    }

    /// Sends calls as a client does, but in their order.
    fn send_lean(&mut self, calls: &[&Call], now: Option<u64>) -> Vec<Result<Reply, Failure>> {
        let (mut replies, mut group) = (Vec::new(), Vec::<&Call>::new());
        for call in calls {
            let is_lean = lean::window(call).is_some();
            let is_same = |other: &&Call| other.key == call.key;
            if !is_lean || group.iter().any(is_same) || group.len() == MAX_GROUP {
                replies.extend(self.send_group(&std::mem::take(&mut group), now));
            }
            if is_lean {
                group.push(call);
            } else {
                replies.extend(self.send_general(&[call], now));
            }
        }
        replies.extend(self.send_group(&group, now));
        replies
    }

    fn send_group(&mut self, calls: &[&Call], now: Option<u64>) -> Vec<Result<Reply, Failure>> {
        if calls.is_empty() {
            return Vec::new();
        }
        let command = lean::encode(calls.iter().copied(), now.map(Nanos));
        let reply: Value = command.query(&mut self.connection).expect("a reply");
        let left: Vec<bool> = lean::left(&reply).collect();
        assert_eq!(left.len(), calls.len());
        let of = |is_left| {
            let calls = calls.iter().zip(&left);
            let calls = calls.filter(move |(_, left)| **left == is_left);
            calls.map(|(call, _)| *call).collect::<Vec<_>>()
        };
        let mut decided = lean::decode(of(false).into_iter(), &reply).into_iter();
        let others = of(true);
        let mut others = if others.is_empty() {
            Vec::new()
        } else {
            self.send_general(&others, now)
        }
        .into_iter();
        let replies = left.iter().map(|is_left| {
            if *is_left {
                others.next()
            } else {
                decided.next()
            }
        });
        replies
            .map(|reply| reply.expect("one for each call"))
            .collect()
    }

    pub(crate) fn send_one(&mut self, now: u64, call: &Call) -> Reply {
        self.send(&[call], Some(now)).remove(0).expect("an answer")
    }

    /// Builds a call about some windows of an id.
    pub(crate) fn build(&self, op: Op, id: &str, tags: &[Tag], cost: u64) -> Call {
        let selected = self.meters.iter().filter(|(tag, _)| tags.contains(tag));
        let window = |(_, meter): &(Tag, Arc<Meter>)| WindowCall {
            meter: Arc::clone(meter),
            charge: None,
        };
        Call {
            key: self.namespace.key(Kind::String, id.as_bytes()),
            op,
            cost,
            scale: self.scale,
            windows: selected.map(window).collect(),
            request_id: None,
            receipt: None,
            named: Vec::new(),
        }
    }

    pub(crate) fn update(&mut self, tag: Tag, limit: &Limit) {
        let changed = self.meters.iter_mut().find(|(known, _)| *known == tag);
        changed.expect("a known window").1 = meter(tag, limit);
    }

    /// Opens a new connection. Returns when the server has closed the previous one.
    pub(crate) fn reconnect(&mut self) {
        self.connection = connect(&self.server);
        let alone = |clients: &str| clients.lines().any(|line| line == "connected_clients:1");
        while !alone(&self.run::<String>(&["INFO", "clients"])) {
            sleep(Duration::from_millis(5));
        }
    }

    /// Runs any command.
    pub(crate) fn run<T: FromRedisValue>(&mut self, words: &[impl ToRedisArgs]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.connection).expect("an answer")
    }

    fn write(&mut self, call: &model::Call) -> Option<(Call, Vec<Tag>)> {
        let (op, id, tags, cost) = match call {
            model::Call::Check(id, tags, cost) => (Op::Take, id, tags, *cost),
            model::Call::Peek(id, tags, cost) => (Op::Peek, id, tags, *cost),
            model::Call::Refund(id, tags, cost) => (Op::Refund, id, tags, *cost),
            model::Call::Reset(id, tags) => (Op::Reset, id, tags, 0),
            model::Call::Scale(ppm) => {
                self.scale = Scale::from_ppm(*ppm);
                return None;
            }
            model::Call::Update(tag, limit) => {
                self.update(*tag, limit);
                return None;
            }
            model::Call::Sweep => return None,
        };
        let known = self.meters.iter().map(|(tag, _)| *tag);
        let selected = known.filter(|tag| tags.contains(tag)).collect();
        Some((self.build(op, &id.to_string(), tags, cost), selected))
    }
}

pub(crate) fn meter(tag: Tag, limit: &Limit) -> Arc<Meter> {
    Arc::new(Meter::new(&format!("w{tag}"), limit).expect("a valid limit"))
}

/// Connects to a server, and loads the scripts.
fn connect(server: &Server) -> Connection {
    let client = Client::open(format!("unix://{}", server.socket())).expect("a socket's address");
    let mut connection = client.get_connection().expect("a connection");
    for script in [&script::GENERAL, &script::LEAN] {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script.source());
        let hash: String = load.query(&mut connection).expect("a valid script");
        assert_eq!(hash, script.hash());
    }
    connection
}
