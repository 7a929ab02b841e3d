//! A limiter on a clock that the test moves.
#![allow(dead_code)] // each test binary that includes this uses a part of it

use std::sync::Arc;

use rate_limiter_core::{
    Answer, CallError, Change, Clock, Epoch, Import, Key, Known, Limit, Limiter, ManualClock,
    Nanos, Once, Options, Planned, Receipt, Scale, Seed, Select, Stats, Tag, Under, UpdateError,
    Usage,
};

use crate::model::Call;

/// The tag of a limiter's only window.
pub(crate) const ONLY: Tag = 1;

pub(crate) struct Rig {
    limiter: Limiter,
    epoch: Epoch,
    clock: Arc<ManualClock>,
    seed: Seed,
}

impl Rig {
    pub(crate) fn new(limits: &[(Tag, Limit)]) -> Self {
        Self::capped(limits, u64::MAX)
    }

    /// A limiter of one window.
    pub(crate) fn of(limit: Limit) -> Self {
        Self::new(&[(ONLY, limit)])
    }

    /// A limiter that remembers at most `max_keys` keys.
    pub(crate) fn capped(limits: &[(Tag, Limit)], max_keys: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Nanos(0)));
        let options = Options {
            clock: Clock::Manual(Arc::clone(&clock)),
            max_keys,
        };
        let (limiter, epoch) = Limiter::new(limits, options).expect("valid limits");
        Self {
            limiter,
            epoch,
            clock,
            seed: Seed::fixed(7),
        }
    }

    /// Sets the clock, also back.
    pub(crate) fn at(&self, now: u64) -> &Self {
        self.clock.set(Nanos(now));
        self
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now().0
    }

    pub(crate) fn advance(&self, span: u64) {
        self.clock.advance(Nanos(span));
    }

    /// Returns the answer; `None` for a call without an answer.
    pub(crate) fn call(&self, call: &Call) -> Vec<(Tag, Usage)> {
        match call {
            // Nearly all calls use another function.
            Call::Check(id, tags, cost) if tags.len() == 1 => {
                return vec![(tags[0], self.check_one(*id, tags[0], *cost))];
            }
            Call::Peek(id, tags, cost) if tags.len() == 1 => {
                return vec![(tags[0], self.peek_one(*id, tags[0], *cost))];
            }
            Call::Check(id, tags, cost) => return bound(&self.check_all(*id, tags, *cost)),
            Call::Peek(id, tags, cost) => return bound(&self.peek_all(*id, tags, *cost)),
            Call::Refund(id, tags, cost) => return bound(&self.refund_all(*id, tags, *cost)),
            Call::Reset(id, tags) => self.reset(*id, tags),
            Call::Scale(ppm) => self.scale(*ppm),
            Call::Update(tag, limit) => self.update(*tag, limit).expect("a limit that is kept"),
            Call::Sweep => drop(self.sweep()),
        }
        Vec::new()
    }

    /// As `call`, under the plan of this name.
    pub(crate) fn call_under(&self, call: &Call, name: u64) -> Vec<(Tag, Usage)> {
        self.call_as(call, Under::Plan(self.key(name)))
    }

    /// As `call`, under a plan without a name.
    pub(crate) fn call_made(&self, call: &Call, changes: &[Change]) -> Vec<(Tag, Usage)> {
        let made = self.limiter.made(self.epoch, changes);
        self.call_as(call, Under::Made(&made.expect("limits that are kept")))
    }

    fn call_as(&self, call: &Call, under: Under) -> Vec<(Tag, Usage)> {
        let planned: Planned = self.limiter.under(self.epoch, under);
        let answer = match call {
            Call::Check(id, tags, cost) if tags.len() == 1 => {
                let charged = planned.charge(self.key(*id), tags[0], *cost);
                return vec![(tags[0], charged.expect("a known window").0)];
            }
            Call::Peek(id, tags, cost) if tags.len() == 1 => {
                let usage = planned.peek(self.key(*id), tags[0], *cost);
                return vec![(tags[0], usage.expect("a known window"))];
            }
            Call::Check(id, tags, cost) => {
                planned.check_all(self.key(*id), Select::Tags(tags), *cost)
            }
            Call::Peek(id, tags, cost) => {
                planned.peek_all(self.key(*id), Select::Tags(tags), *cost)
            }
            Call::Refund(id, tags, cost) => {
                planned.refund(self.key(*id), Select::Tags(tags), *cost)
            }
            _ => return self.call(call),
        };
        bound(&answer.expect("known windows"))
    }

    /// What is left of the only window after a cost of 1 under a plan.
    pub(crate) fn try_under(&self, id: u64, name: u64) -> Result<u64, CallError> {
        let under = Under::Plan(self.key(name));
        let charged = self.limiter.under(self.epoch, under);
        let (usage, _) = charged.charge(self.key(id), ONLY, 1)?;
        Ok(usage.remaining)
    }

    pub(crate) fn put_plan(&self, name: u64, changes: &[Change]) -> Result<(), UpdateError> {
        let plan = (self.key(name), changes.to_vec());
        self.limiter.put_plans(self.epoch, &[plan])
    }

    pub(crate) fn remove_plan(&self, name: u64) -> bool {
        let removed = self.limiter.remove_plan(self.epoch, self.key(name));
        removed.expect("open")
    }

    pub(crate) fn check(&self, id: u64, cost: u64) -> Usage {
        self.check_one(id, ONLY, cost)
    }

    pub(crate) fn peek(&self, id: u64, cost: u64) -> Usage {
        self.peek_one(id, ONLY, cost)
    }

    pub(crate) fn check_one(&self, id: u64, tag: Tag, cost: u64) -> Usage {
        let answer = self.limiter.check(self.epoch, self.key(id), tag, cost);
        answer.expect("a known window")
    }

    pub(crate) fn peek_one(&self, id: u64, tag: Tag, cost: u64) -> Usage {
        let answer = self.limiter.peek(self.epoch, self.key(id), tag, cost);
        answer.expect("a known window")
    }

    pub(crate) fn check_all(&self, id: u64, tags: &[Tag], cost: u64) -> Answer {
        let (key, select) = (self.key(id), Select::Tags(tags));
        let answer = self.limiter.check_all(self.epoch, key, select, cost);
        answer.expect("known windows")
    }

    pub(crate) fn peek_all(&self, id: u64, tags: &[Tag], cost: u64) -> Answer {
        let (key, select) = (self.key(id), Select::Tags(tags));
        let answer = self.limiter.peek_all(self.epoch, key, select, cost);
        answer.expect("known windows")
    }

    pub(crate) fn refund(&self, id: u64, cost: u64) -> Usage {
        self.refund_all(id, &[ONLY], cost).usages()[0].1
    }

    pub(crate) fn refund_all(&self, id: u64, tags: &[Tag], cost: u64) -> Answer {
        let (key, select) = (self.key(id), Select::Tags(tags));
        match self.limiter.refund(self.epoch, key, select, cost) {
            // It gets nothing back, and its usage is that of all keys that share its state.
            Err(CallError::NoRoom) => self.peek_all(id, tags, 0),
            answer => answer.expect("known windows"),
        }
    }

    pub(crate) fn try_refund(&self, id: u64, cost: u64) -> Result<Usage, CallError> {
        let (key, select) = (self.key(id), Select::Tags(&[ONLY]));
        let answer = self.limiter.refund(self.epoch, key, select, cost);
        answer.map(|answer| answer.binding().1)
    }

    pub(crate) fn try_reset(&self, id: u64) -> Result<(), CallError> {
        self.limiter.reset(self.epoch, self.key(id), Select::All)
    }

    /// What the key has used of all windows.
    pub(crate) fn snapshot(&self, id: u64) -> Option<Known> {
        let known = self.limiter.snapshot(self.epoch, self.key(id), Select::All);
        known.expect("open")
    }

    pub(crate) fn import(&self, id: u64, known: &Known, how: Import) -> bool {
        let imported = self.limiter.import(self.epoch, self.key(id), known, how);
        imported.expect("known windows")
    }

    /// A call named `request`, which is remembered for `keep`.
    pub(crate) fn check_once(&self, id: u64, request: u64, keep: u64, cost: u64) -> Answer {
        self.check_once_of(id, Select::All, request, keep, cost)
    }

    pub(crate) fn check_once_of(
        &self,
        id: u64,
        select: Select,
        request: u64,
        keep: u64,
        cost: u64,
    ) -> Answer {
        self.charge_once_of(id, select, request, keep, cost).0
    }

    pub(crate) fn charge_once(
        &self,
        id: u64,
        request: u64,
        keep: u64,
        cost: u64,
    ) -> (Answer, Receipt) {
        self.charge_once_of(id, Select::All, request, keep, cost)
    }

    pub(crate) fn charge_once_of(
        &self,
        id: u64,
        select: Select,
        request: u64,
        keep: u64,
        cost: u64,
    ) -> (Answer, Receipt) {
        let (key, once) = (self.key(id), self.once(request, keep));
        let answer = self.limiter.check_once(self.epoch, key, select, cost, once);
        answer.expect("open")
    }

    fn once(&self, request: u64, keep: u64) -> Once {
        Once {
            id: self.key(request),
            keep: Nanos(keep),
        }
    }

    pub(crate) fn charge_all(&self, id: u64, tags: &[Tag], cost: u64) -> (Answer, Receipt) {
        let (key, select) = (self.key(id), Select::Tags(tags));
        let answer = self.limiter.charge_all(self.epoch, key, select, cost);
        answer.expect("known windows")
    }

    /// Gives back `cost` of a call that was charged `charged`.
    pub(crate) fn give_back(
        &self,
        id: u64,
        tags: &[Tag],
        (receipt, charged): (Receipt, u64),
        cost: u64,
    ) -> Result<Answer, CallError> {
        let (key, select) = (self.key(id), Select::Tags(tags));
        self.limiter
            .give_back(self.epoch, key, select, receipt, charged, cost)
    }

    pub(crate) fn reset(&self, id: u64, tags: &[Tag]) {
        let (key, select) = (self.key(id), Select::Tags(tags));
        match self.limiter.reset(self.epoch, key, select) {
            Err(CallError::NoRoom) => (),
            reset => reset.expect("known windows"),
        }
    }

    pub(crate) fn update(&self, tag: Tag, limit: &Limit) -> Result<(), String> {
        let updated = self
            .limiter
            .update_limits(self.epoch, &[(tag, limit.clone())]);
        updated.map_err(|error| error.to_string())
    }

    pub(crate) fn scale(&self, ppm: u32) {
        let scaled = self.limiter.set_scale(self.epoch, Scale::from_ppm(ppm));
        scaled.expect("open");
    }

    /// Forgets every key that is idle now.
    pub(crate) fn sweep(&self) -> usize {
        self.sweep_step(usize::MAX)
    }

    /// Sweeps about so many slots.
    pub(crate) fn sweep_step(&self, max_slots: usize) -> usize {
        self.limiter.sweep(self.epoch, max_slots).expect("open")
    }

    pub(crate) fn stats(&self) -> Stats {
        self.limiter.stats(self.epoch).expect("open")
    }

    /// Whether an answer of the only window passes this share of it.
    pub(crate) fn passes(&self, id: u64, usage: &Usage, cost: u64, ppm: u32) -> bool {
        let (key, share) = (self.key(id), Scale::from_ppm(ppm));
        self.limiter
            .passes(self.epoch, key, (ONLY, usage), cost, share)
    }

    fn key(&self, id: u64) -> Key {
        self.seed.key(&id.to_le_bytes())
    }
}

/// Returns the usages of an answer, and checks that the right one binds.
fn bound(answer: &Answer) -> Vec<(Tag, Usage)> {
    let usages = answer.usages();
    let longest = usages.iter().map(|(_, usage)| usage.retry).max();
    let candidates = usages
        .iter()
        .filter(|(_, usage)| Some(usage.retry) == longest);
    let least = candidates.min_by_key(|(_, usage)| usage.remaining);
    assert_eq!(Some(answer.binding()), least);
    assert_eq!(
        answer.allowed(),
        usages.iter().all(|(_, usage)| usage.allowed())
    );
    usages.to_vec()
}
