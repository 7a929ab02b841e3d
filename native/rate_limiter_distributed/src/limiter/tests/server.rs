//! An authority that decides as a script in a server would: one call after the other, by its own clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rate_limiter_core::{
    Algorithm, Answer, Change, Clock, Epoch, Import, Join, Key, Known, Limit, Limiter, Made,
    ManualClock, Nanos, Options, Planned, Seed, Select, Snapshot, Tag, Under,
};

use crate::call::{Call, Charge, NamedCharge, Op, Reply, WindowCall, WindowReply};

/// The server's time when a test begins: a multiple of all periods that tests use.
pub(super) const START: Nanos = Nanos(1_700_000_000_000_000_000);

pub(super) struct Server {
    limiter: Limiter,
    pub(super) limits: Vec<(Tag, Limit)>,
    pub(super) clock: Arc<ManualClock>,
    seed: Seed,
    state: Mutex<State>,
}

struct State {
    /// The local limiter's epoch: another one, with no states, after each loss of data.
    opened: Epoch,
    epoch: u64,
    /// The names of the calls that were admitted, with their keys, costs and windows.
    names: HashSet<CallName>,
    /// When the usage of a key was last lowered, and each of its windows reset.
    lowered: HashMap<Key, Nanos>,
    resets: HashMap<(Key, Tag), Nanos>,
}

type CallName = (Vec<u8>, Vec<u8>, u64, Vec<Tag>);

impl Server {
    pub(super) fn new(limits: Vec<(Tag, Limit)>) -> Self {
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
            state: Mutex::new(State {
                opened,
                epoch: 1,
                names: HashSet::new(),
                lowered: HashMap::new(),
                resets: HashMap::new(),
            }),
        }
    }

    /// Forgets all states, in a new epoch.
    pub(super) fn lose_data(&self) {
        self.forget();
        self.new_epoch();
    }

    /// Forgets all states, and nobody is told.
    pub(super) fn forget(&self) {
        let options = Options {
            clock: Clock::Manual(Arc::clone(&self.clock)),
            ..Options::default()
        };
        let opened = self.limiter.open(&self.limits, options);
        let mut state = self.state.lock();
        state.opened = opened.expect("valid limits");
        state.names.clear();
        state.lowered.clear();
        state.resets.clear();
    }

    pub(super) fn new_epoch(&self) {
        self.state.lock().epoch += 1;
    }

    pub(super) fn epoch(&self) -> u64 {
        self.state.lock().epoch
    }

    pub(super) fn stored(&self, key: &[u8]) -> Option<Known> {
        let known = self
            .limiter
            .snapshot(self.opened(), self.seed.key(key), Select::All);
        known.expect("an open limiter")
    }

    fn opened(&self) -> Epoch {
        self.state.lock().opened
    }

    /// Returns the limits of a call, by which it is decided.
    fn limits_of(&self, windows: &[WindowCall]) -> Made {
        let change = |window: &WindowCall| Change::to(tag(window), window.meter.limit());
        let changes: Vec<Change> = windows.iter().map(change).collect();
        let made = self.limiter.made(self.opened(), &changes);
        made.expect("limits that are kept")
    }

    fn under<'a>(&'a self, limits: &'a Made) -> Planned<'a> {
        self.limiter.under(self.opened(), Under::Made(limits))
    }

    pub(super) fn run(&self, call: &Call) -> Reply {
        let key = self.seed.key(&call.key);
        let tags: Vec<Tag> = call.windows.iter().map(tag).collect();
        for (window, tag) in call.windows.iter().zip(&tags) {
            self.charge(key, window, *tag);
        }
        for named in &call.named {
            self.charge_named(call, key, named, &tags);
        }
        let scale = self.limiter.set_scale(self.opened(), call.scale);
        scale.expect("an open limiter");
        let name = call.request_id.as_ref().map(|request| {
            (
                call.key.to_vec(),
                request.id.to_vec(),
                call.cost,
                tags.clone(),
            )
        });
        let repeated = name
            .as_ref()
            .is_some_and(|name| self.state.lock().names.contains(name));
        let cost = if repeated { 0 } else { call.cost };
        let answer = self.decide(
            &Call {
                cost,
                ..call.clone()
            },
            key,
            Select::Tags(&tags),
        );
        if let Some(name) = name.filter(|_| answer.allowed() && call.op == Op::Take) {
            self.state.lock().names.insert(name);
        }
        let limits = self.limits_of(&call.windows);
        let known = self.under(&limits).snapshot(key, Select::All);
        let known = known.expect("an open limiter");
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
            repeated,
            windows: windows.map(window).collect(),
        }
    }

    fn decide(&self, call: &Call, key: Key, select: Select) -> Answer {
        let limits = self.limits_of(&call.windows);
        let (planned, cost) = (self.under(&limits), call.cost);
        let answer = match call.op {
            Op::Take => planned.check_all(key, select, cost),
            Op::Peek => planned.peek_all(key, select, cost),
            Op::Refund => {
                self.state.lock().lowered.insert(key, self.clock.now());
                planned.refund(key, select, cost)
            }
            Op::Reset => self
                .end(key, select)
                .limiter
                .reset(self.opened(), key, select)
                .and_then(|()| planned.peek_all(key, select, 0)),
        };
        answer.expect("windows of the limiter")
    }

    /// Records a reset.
    fn end(&self, key: Key, select: Select) -> &Self {
        let (now, mut state) = (self.clock.now(), self.state.lock());
        state.lowered.insert(key, now);
        let selected = |tag: &Tag| match select {
            Select::All => true,
            Select::Tags(tags) => tags.contains(tag),
        };
        let reset = self.limits.iter().map(|(tag, _)| *tag).filter(selected);
        state.resets.extend(reset.map(|tag| ((key, tag), now)));
        self
    }

    fn charge_named(&self, call: &Call, key: Key, named: &NamedCharge, tags: &[Tag]) {
        let own = tags
            .iter()
            .zip(&named.is_own)
            .filter(|(_, is_own)| **is_own);
        let own = own.map(|(tag, _)| *tag).collect();
        let name = (
            call.key.to_vec(),
            named.request_id.id.to_vec(),
            named.cost,
            own,
        );
        if self.state.lock().names.insert(name) {
            for ((window, tag), taken) in call.windows.iter().zip(tags).zip(&named.taken) {
                let charge = Charge {
                    taken: taken.clone(),
                    until: named.at,
                    ..Charge::default()
                };
                let window = WindowCall {
                    charge: Some(charge),
                    ..window.clone()
                };
                self.charge(key, &window, *tag);
            }
        }
    }

    /// Restores what was lost, then adds what was taken. A bucket never holds more than fits.
    fn charge(&self, key: Key, window: &WindowCall, tag: Tag) {
        let Some(charge) = &window.charge else { return };
        let limits = self.limits_of(std::slice::from_ref(window));
        let planned = self.under(&limits);
        let known = |state: &Snapshot| Known {
            at: self.clock.now(),
            windows: vec![(tag, state.clone())],
        };
        let (lowered, reset) = {
            let state = self.state.lock();
            let of = |moment: Option<&Nanos>| moment.copied().unwrap_or_default();
            (
                of(state.lowered.get(&key)),
                of(state.resets.get(&(key, tag))),
            )
        };
        if let Some(least) = charge.at_least.as_ref().filter(|_| lowered <= charge.since) {
            let imported = planned.import(key, &known(least), Import::AtLeast);
            imported.expect("a window of the limiter");
        }
        if let Some(taken) = charge.taken.as_ref().filter(|_| reset <= charge.until) {
            let stored = planned.snapshot(key, Select::Tags(&[tag]));
            let stored = stored.expect("a window of the limiter");
            let mut sum = known(taken).with(stored.as_ref(), Join::Sum);
            for (_, state) in &mut sum.windows {
                if let Snapshot::Bucket { debt } = state {
                    *debt = full(window.meter.limit()).min(*debt);
                }
            }
            let imported = planned.import(key, &sum, Import::Replace);
            imported.expect("a window of the limiter");
        }
    }
}

/// Windows are named by their tags.
fn tag(window: &WindowCall) -> Tag {
    window.meter.name().parse().expect("a tag")
}

/// Returns the time in which a full bucket drains.
fn full(bucket: &Limit) -> Nanos {
    let per = Nanos::from(bucket.per()).0;
    Nanos(bucket.capacity() * per.div_ceil(bucket.limit()))
}

fn unused(limit: &Limit) -> Snapshot {
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => Snapshot::Bucket { debt: Nanos(0) },
        Algorithm::SlidingWindow { .. } => Snapshot::Window {
            width: Nanos(1),
            newest: 0,
            counts: Vec::new(),
        },
        Algorithm::SlidingLog => Snapshot::Log { uses: Vec::new() },
        Algorithm::FixedWindow { .. } => Snapshot::Fixed {
            start: Nanos(0),
            per: Nanos(1),
            used: 0,
        },
    }
}
