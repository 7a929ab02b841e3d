//! This node's own count, while Redis is away.
//!
//! A limiter of this node's share of each limit. A key's state begins there as its share of what Redis said last, so an
//! outage is no free reset; and what the node lets through is told to Redis with the key's next call there, before that
//! is decided, so coming back is none either.
//!
//! Two tables say what is still to be told. `counts` judges. `told` holds what of that Redis knows already: at first
//! the state that was taken from it, then also what was brought to it. What `counts` has beyond `told` is owed. Where a
//! call that brings it fails, that comes off `told` again: it may have been brought nevertheless, and is then charged
//! twice; but never not at all.

mod names;
mod share;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rate_limiter_core::{
    Adopt, Answer, CallError, Epoch, Join, Key, Known, Limit, LimitError, Limiter, Nanos, Once,
    Options, Retry, Scale, Select, Stats, Tag, UpdateError, Usage,
};

use crate::key_lock::KeyLock;
use crate::members::Share;
use crate::server_clock::ServerClock;

pub(crate) use names::Name;

use names::Names;
use share::Shares;

#[derive(Debug)]
pub(crate) struct Fallback {
    counts: Table,
    told: Table,
    /// Steps on both tables are one key's turn.
    locks: KeyLock,
    shares: ArcSwap<Shares>,
    /// The limits as they are configured; held while the shares change.
    limits: Mutex<Vec<(Tag, Limit)>>,
    /// Whether somebody may owe.
    used: AtomicBool,
    names: Names,
}

/// A question to this node.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) key: Key,
    pub(crate) name: &'a Arc<[u8]>,
    pub(crate) tags: &'a [Tag],
    pub(crate) cost: u64,
    /// What the limiters' clock shows.
    pub(crate) now: Nanos,
    /// Its name, if it may be made again. That is remembered here for itself: Redis does not hear of it.
    pub(crate) once: Option<Once>,
    /// What Redis said last of the key.
    pub(crate) last: &'a dyn Fn() -> Option<Known>,
}

/// A core function that judges several windows.
type AskAll = fn(&Limiter, Epoch, Key, Select, u64) -> Result<Answer, CallError>;

/// A limiter that is open as long as it lives.
#[derive(Debug)]
struct Table {
    limiter: Limiter,
    epoch: Epoch,
}

impl Fallback {
    /// Counts at most `max_keys`; those beyond share one count.
    pub(crate) fn new(
        limits: Vec<(Tag, Limit)>,
        share: Share,
        clock: &ServerClock,
        max_keys: u64,
    ) -> Result<Self, LimitError> {
        let shares = Shares::new(&limits, share);
        let table = |max_keys| Table::new(&shares.limits(), clock, max_keys);
        Ok(Self {
            counts: table(max_keys)?,
            // Never without room for a key that is counted, also if it is swept later.
            told: table(max_keys.saturating_mul(2))?,
            locks: KeyLock::default(),
            shares: ArcSwap::from_pointee(shares),
            limits: Mutex::new(limits),
            used: AtomicBool::new(false),
            names: Names::new(max_keys),
        })
    }

    /// Takes the cost of this node's share of every window, or of none; or where everything is let through, of each as
    /// much of it as there is.
    pub(crate) fn take(&self, question: Question, lets_all_through: bool) -> Answer {
        self.answer(
            question,
            lets_all_through,
            question.once,
            Limiter::check_all,
        )
    }

    /// What `take` would answer.
    pub(crate) fn peek(&self, question: Question, lets_all_through: bool) -> Answer {
        self.answer(question, lets_all_through, None, Limiter::peek_all)
    }

    fn answer(
        &self,
        question: Question,
        lets_all_through: bool,
        once: Option<Once>,
        ask: AskAll,
    ) -> Answer {
        let shares = self.shares.load();
        let _lock = self.locks.lock(question.key);
        let is_new = self.begin(question, &shares);
        let judged = self.judge(question, &shares, |table, key, select, cost| match once {
            Some(once) => table.ask_once(key, select, cost, once),
            None => table.ask(key, select, cost, ask),
        });
        let answer = if lets_all_through && !judged.allowed() {
            self.let_through(question, &shares, &judged, ask)
        } else {
            judged
        };
        self.end(question, is_new);
        answer
    }

    /// Gives back the cost, of this node's count.
    pub(crate) fn refund(&self, question: Question) -> Answer {
        let shares = self.shares.load();
        let _lock = self.locks.lock(question.key);
        let is_new = self.begin(question, &shares);
        let Question { key, tags, .. } = question;
        let select = Select::Tags(tags);
        let answer = self.counts.ask(key, select, question.cost, Limiter::refund);
        self.end(question, is_new);
        answer
    }

    /// Whether somebody may owe.
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Forgets what was used, since Redis has.
    pub(crate) fn reset(&self, key: Key, tags: &[Tag]) {
        if self.is_used() {
            let _lock = self.locks.lock(key);
            self.counts.reset(key, Select::Tags(tags));
            self.told.reset(key, Select::Tags(tags));
        }
    }

    /// Has a call about these windows sent, with what the key owes of them, as Redis counts it. That counts as told from
    /// then on, unless the call is handed back. No other call about the key is sent in between: it would be decided
    /// before this one, as if nothing was owed.
    pub(crate) fn bring<T, E>(
        &self,
        question: Question,
        send: impl FnOnce(Option<Known>) -> Result<T, E>,
    ) -> Result<T, E> {
        if !self.is_used() {
            return send(None);
        }
        let shares = self.shares.load();
        let _lock = self.locks.lock(question.key);
        let debt = self.owed(question, &shares);
        let result = send(debt.clone());
        if let (Err(_), Some(debt)) = (&result, &debt) {
            self.take_back(debt, question, &shares);
        }
        result
    }

    /// The call that was to tell it has failed after it was sent: it is owed again.
    pub(crate) fn untold(&self, debt: &Known, question: Question) {
        let shares = self.shares.load();
        let _lock = self.locks.lock(question.key);
        self.take_back(debt, question, &shares);
    }

    /// Redis has answered a call about the key, and said `last`. A key that owes nothing goes on there alone; another
    /// owes on top of what Redis says now.
    pub(crate) fn answered(&self, key: Key, last: impl FnOnce() -> Option<Known>) {
        if !self.is_used() {
            return;
        }
        let shares = self.shares.load();
        let _lock = self.locks.lock(key);
        let Some(counted) = self.counts.read(key, Select::All) else {
            return;
        };
        let told = self.told.read(key, Select::All);
        let owed = counted.with(told.as_ref(), Join::Beyond);
        self.counts.reset(key, Select::All);
        self.told.reset(key, Select::All);
        if owed.is_blank() {
            return;
        }
        let seed = last().map(|last| shares.of_whole(&last));
        let counted = owed.with(seed.as_ref(), Join::Sum);
        self.counts.write(key, &counted);
        if let Some(seed) = seed {
            self.told.write(key, &seed);
        }
    }

    /// Up to so many keys that may owe, the first that were counted.
    pub(crate) fn owing(&self, most: usize) -> Vec<Name> {
        self.names.take(most)
    }

    /// A key that `owing` has told of could not be settled.
    pub(crate) fn still_owing(&self, key: Key, name: &Arc<[u8]>) {
        self.names.put(key, name);
    }

    /// How many keys may owe.
    pub(crate) fn names(&self) -> u64 {
        self.names.waiting()
    }

    /// This node's share is now this one. Where it is just being changed, the next call will see to it.
    pub(crate) fn renew(&self, share: Share) {
        if self.shares.load().share != share {
            if let Some(limits) = self.limits.try_lock() {
                // It was valid before, and a part of a valid limit is.
                let _ = self.apply(Shares::new(&limits, share));
            }
        }
    }

    /// One limit is now this one. What was used stays used.
    pub(crate) fn update_limit(&self, tag: Tag, limit: &Limit) -> Result<(), UpdateError> {
        let mut limits = self.limits.lock();
        let mut changed = limits.clone();
        for (_, place) in changed.iter_mut().filter(|(other, _)| *other == tag) {
            *place = limit.clone();
        }
        self.apply(Shares::new(&changed, self.shares.load().share))?;
        *limits = changed;
        Ok(())
    }

    pub(crate) fn set_scale(&self, scale: Scale) {
        let _ = self.counts.limiter.set_scale(self.counts.epoch, scale);
    }

    /// Forgets idle keys, looking at about `max_slots` places. Returns how many.
    pub(crate) fn sweep(&self, max_slots: usize) -> usize {
        if !self.is_used() {
            return 0;
        }
        let removed = self.counts.sweep(max_slots);
        self.told.sweep(max_slots);
        // First this, so that whoever takes in between is seen, or says so itself.
        self.used.store(false, Ordering::Release);
        if self.counts.stats().keys > 0 {
            self.used.store(true, Ordering::Release);
        }
        removed
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.counts.stats();
        stats.bytes += self.told.stats().bytes;
        stats
    }

    fn apply(&self, shares: Shares) -> Result<(), UpdateError> {
        for (tag, limit) in shares.limits() {
            self.counts.update(tag, &limit)?;
            self.told.update(tag, &limit)?;
        }
        self.shares.store(Arc::new(shares));
        Ok(())
    }

    fn owed(&self, question: Question, shares: &Shares) -> Option<Known> {
        let (key, select) = (question.key, Select::Tags(question.tags));
        let counted = self.counts.read(key, select)?;
        let told = self.told.read(key, select);
        let here = counted.with(told.as_ref(), Join::Beyond);
        if here.is_blank() || !self.told.write(key, &counted) {
            return None;
        }
        Some(shares.to_whole(&here))
    }

    fn take_back(&self, debt: &Known, question: Question, shares: &Shares) {
        let is_new = self.begin(question, shares);
        let Question { key, now, .. } = question;
        let tags: Vec<Tag> = debt.windows.iter().map(|(tag, _)| *tag).collect();
        let select = Select::Tags(&tags);
        // As of now: on its way it has not drained.
        let back = Known {
            at: now,
            windows: shares.of_used(debt).windows,
        };
        let told = self.told.read(key, select);
        let missing = back.with(told.as_ref(), Join::Beyond);
        self.told.reset(key, select);
        if let Some(told) = told {
            self.told.write(key, &told.with(Some(&back), Join::Beyond));
        }
        if !missing.is_blank() {
            let counted = self.counts.read(key, select);
            let counted = missing.with(counted.as_ref(), Join::Sum);
            self.counts.write(key, &counted);
        }
        self.end(question, is_new);
    }

    /// Has a key that is not counted yet go on from what Redis said last. Returns whether it was not.
    fn begin(&self, question: Question, shares: &Shares) -> bool {
        let Question { key, last, .. } = question;
        if self.counts.read(key, Select::All).is_some() {
            return false;
        }
        self.told.reset(key, Select::All);
        if let Some(last) = last() {
            let seed = shares.of_whole(&last);
            // Without room for it, it is judged together with others, of whom nobody knows what each has used.
            if self.counts.write(key, &seed) {
                self.told.write(key, &seed);
            }
        }
        true
    }

    /// After every step that may have begun to count a key.
    fn end(&self, question: Question, is_new: bool) {
        self.used.store(true, Ordering::Release);
        if is_new && self.counts.read(question.key, Select::All).is_some() {
            self.names.put(question.key, question.name);
        }
    }

    /// What was denied, as allowed: of each window as much is taken as there is.
    fn let_through(
        &self,
        question: Question,
        shares: &Shares,
        denied: &Answer,
        ask: AskAll,
    ) -> Answer {
        let usages = denied.usages().iter().map(|&(tag, usage)| {
            let rest = usage.remaining.min(question.cost);
            let usage = if shares.is_zero(tag) {
                usage
            } else {
                let answer = self
                    .counts
                    .ask(question.key, Select::Tags(&[tag]), rest, ask);
                answer.binding().1
            };
            let retry = Retry::Now;
            (tag, Usage { retry, ..usage })
        });
        Answer::new(usages.collect())
    }

    /// What `ask` says; or where this node has no share of one window, that nothing can be let through.
    fn judge(
        &self,
        question: Question,
        shares: &Shares,
        ask: impl FnOnce(&Table, Key, Select, u64) -> Answer,
    ) -> Answer {
        let Question {
            key, tags, cost, ..
        } = question;
        let has_zero = tags.iter().any(|&tag| shares.is_zero(tag));
        if !has_zero {
            return ask(&self.counts, key, Select::Tags(tags), cost);
        }
        let now = self
            .counts
            .ask(key, Select::Tags(tags), 0, Limiter::peek_all);
        let zero = |tag| {
            let usage = Usage {
                max: 0,
                remaining: 0,
                reset_after: Nanos(0),
                retry: if cost > 0 { Retry::Never } else { Retry::Now },
            };
            (tag, usage)
        };
        let usages = now.usages().iter().map(|window| {
            if shares.is_zero(window.0) {
                zero(window.0)
            } else {
                *window
            }
        });
        Answer::new(usages.collect())
    }
}

impl Table {
    fn new(
        limits: &[(Tag, Limit)],
        clock: &ServerClock,
        max_keys: u64,
    ) -> Result<Self, LimitError> {
        let options = Options {
            clock: clock.clock(),
            max_keys,
        };
        let (limiter, epoch) = Limiter::new(limits, options)?;
        Ok(Self { limiter, epoch })
    }

    fn ask(&self, key: Key, select: Select, cost: u64, ask: AskAll) -> Answer {
        let answer = ask(&self.limiter, self.epoch, key, select, cost);
        answer.expect("open, with the windows of the plan by which the call was made")
    }

    fn ask_once(&self, key: Key, select: Select, cost: u64, once: Once) -> Answer {
        let (limiter, epoch) = (&self.limiter, self.epoch);
        let answer = limiter.check_once(epoch, key, select, cost, once);
        answer.expect("open, with the windows of the plan by which the call was made")
    }

    fn read(&self, key: Key, select: Select) -> Option<Known> {
        let known = self.limiter.snapshot(self.epoch, key, select);
        known.ok().flatten()
    }

    fn write(&self, key: Key, known: &Known) -> bool {
        let adopted = self.limiter.adopt(self.epoch, key, known, Adopt::Instead);
        adopted.unwrap_or(false)
    }

    fn reset(&self, key: Key, select: Select) {
        let _ = self.limiter.reset(self.epoch, key, select);
    }

    fn update(&self, tag: Tag, limit: &Limit) -> Result<(), UpdateError> {
        self.limiter.update_limit(self.epoch, tag, limit)
    }

    fn sweep(&self, max_slots: usize) -> usize {
        self.limiter.sweep(self.epoch, max_slots).unwrap_or(0)
    }

    fn stats(&self) -> Stats {
        self.limiter.stats(self.epoch).unwrap_or_default()
    }
}
