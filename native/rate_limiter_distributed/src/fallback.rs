//! This node's own count of each key, while the authority is away.
//!
//! A limiter of this node's share of each limit. A key starts with its share of the state that the authority reported
//! last, so an outage does not reset it; and the usage that this node admits is reported with the key's next call,
//! before that is decided, so the end of an outage does not reset it either.
//!
//! Two tables tell what is still to be reported. `counts` decides. `reported` holds the part of it that the authority
//! knows already: first the state that was taken from it, then also the usage that was reported to it. What `counts`
//! has beyond `reported` is the key's backlog. If a call with a backlog fails, that is subtracted from `reported` again:
//! the call may have run nevertheless, and its backlog is then charged twice; but it is always charged.

mod backlog;
mod judge;
mod named;
mod parts;
mod shares;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rate_limiter_core::{
    Answer, Import, Join, Key, Known, Limit, LimitError, Nanos, Once, Scale, Select, Stats, Tag,
    UpdateError,
};

use crate::authority_clock::AuthorityClock;
use crate::call::RequestId;
use crate::key_lock::KeyLock;
use crate::members::Share;
use crate::table::{Table, PEEK, TAKE};

use backlog::Backlog;
use named::Names;
use parts::Parts;
use shares::Shares;

pub(crate) use backlog::Name;
pub(crate) use named::{Named, Report};

#[derive(Debug)]
pub(crate) struct Fallback {
    counts: Table,
    reported: Table,
    /// Held while a key changes in both tables.
    locks: KeyLock,
    shares: ArcSwap<Shares>,
    /// The limits as configured; held while the shares change.
    limits: Mutex<Vec<(Tag, Limit)>>,
    /// Whether any key may have a backlog.
    used: AtomicBool,
    /// When a call was admitted last, of any key.
    last_admitted: AtomicU64,
    backlog: Backlog,
    names: Names,
}

/// A question to this node's own count.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) key: Key,
    pub(crate) name: &'a Arc<[u8]>,
    pub(crate) tags: &'a [Tag],
    /// The limits of all windows, if a plan changes them.
    pub(crate) limits: Option<&'a [(Tag, Limit)]>,
    pub(crate) cost: u64,
    /// The time on the tables' clock.
    pub(crate) now: Nanos,
    /// The request's id, if it may be repeated.
    pub(crate) once: Option<Once>,
    pub(crate) request_id: Option<&'a RequestId>,
    /// Whether a report includes the calls with names.
    pub(crate) takes_names: bool,
    /// Returns the state of the key that the authority reported last.
    pub(crate) last: &'a dyn Fn() -> Option<Known>,
}

impl Fallback {
    /// Counts at most `max_keys`; those beyond share one count.
    pub(crate) fn new(
        limits: Vec<(Tag, Limit)>,
        share: Share,
        clock: &AuthorityClock,
        max_keys: u64,
    ) -> Result<Self, LimitError> {
        let shares = Shares::new(&limits, share);
        let table = |max_keys| Table::new(&shares.limits(), clock, max_keys);
        Ok(Self {
            counts: table(max_keys)?,
            // Twice, so that there is room for each key in `counts`, also if that is swept earlier.
            reported: table(max_keys.saturating_mul(2))?,
            locks: KeyLock::default(),
            shares: ArcSwap::from_pointee(shares),
            limits: Mutex::new(limits),
            used: AtomicBool::new(false),
            last_admitted: AtomicU64::new(0),
            backlog: Backlog::new(max_keys),
            names: Names::new(max_keys),
        })
    }

    /// Takes the cost from this node's share of every window, or from none. With `admits_all`, takes from each window
    /// as much of it as is left.
    pub(crate) fn take(&self, question: Question, admits_all: bool) -> Answer {
        self.answer(question, admits_all, question.once, TAKE)
    }

    /// Answers as `take` would, and takes nothing.
    pub(crate) fn peek(&self, question: Question, admits_all: bool) -> Answer {
        self.answer(question, admits_all, None, PEEK)
    }

    /// Gives back the cost to this node's count. `None` if the key has found no room, and shares a count with others.
    pub(crate) fn refund(&self, question: Question) -> Option<Answer> {
        let parts = self.parts(question.limits);
        let _lock = self.locks.lock(question.key);
        let is_new = self.start(question, &parts);
        let Question { key, tags, .. } = question;
        let select = Select::Tags(tags);
        let answer = self
            .counts
            .refund(parts.counts(), key, select, question.cost);
        self.end(question, &parts, is_new);
        answer
    }

    /// Returns whether any key may have a backlog.
    pub(crate) fn is_used(&self) -> bool {
        // Acquire: with the release in `end`, a thread that learns of an admitted call also finds its count.
        self.used.load(Ordering::Acquire)
    }

    /// Forgets the usage of a key that was reset.
    pub(crate) fn reset(&self, key: Key, tags: &[Tag]) {
        if self.is_used() {
            let _lock = self.locks.lock(key);
            self.names.take(key);
            self.counts.reset(key, Select::Tags(tags));
            self.reported.clear(key, Select::Tags(tags));
        }
    }

    /// Returns whether calls of the key with names are still to be reported.
    pub(crate) fn has_names(&self, key: Key) -> bool {
        self.names.has(key)
    }

    /// Passes the key's backlog of these windows, in units of the whole limits, to `send`. It counts as reported from
    /// then on, unless `send` fails. Calls with names are reported as such, or not yet. No other call about the key is sent meanwhile, since it would be decided before
    /// this one, as if there was no backlog.
    pub(crate) fn report<T, E>(
        &self,
        question: Question,
        send: impl FnOnce(Option<Report>) -> Result<T, E>,
    ) -> Result<T, E> {
        let parts = self.parts(question.limits);
        let _lock = self.locks.lock(question.key);
        let report = self.next_report(question, &parts);
        let result = send(report.clone());
        if let (Err(_), Some(report)) = (&result, &report) {
            self.put_back(report, question, &parts);
        }
        result
    }

    /// Puts back the backlog of a call that failed after it was sent.
    pub(crate) fn take_back(&self, report: &Report, question: Question) {
        let parts = self.parts(question.limits);
        let _lock = self.locks.lock(question.key);
        self.put_back(report, question, &parts);
    }

    /// Puts the key's backlog on top of the state that the authority has just reported. A key without one is not
    /// counted here any more.
    pub(crate) fn rebase(
        &self,
        key: Key,
        limits: Option<&[(Tag, Limit)]>,
        last: impl FnOnce() -> Option<Known>,
    ) {
        if !self.is_used() {
            return;
        }
        let parts = self.parts(limits);
        let _lock = self.locks.lock(key);
        let Some(counted) = self.counts.read(parts.counts(), key, Select::All) else {
            return;
        };
        let reported = self.reported.read(parts.reported(), key, Select::All);
        let backlog = counted.with(reported.as_ref(), Join::Beyond);
        self.counts.clear(key, Select::All);
        self.reported.clear(key, Select::All);
        if backlog.is_blank() {
            return;
        }
        let base = last().map(|last| parts.of_whole(&last));
        let counted = backlog.with(base.as_ref(), Join::Sum);
        self.counts
            .write(parts.counts(), key, &counted, Import::Replace);
        if let Some(base) = base {
            self.reported
                .write(parts.reported(), key, &base, Import::Replace);
        }
    }

    /// Removes and returns up to `most` keys that may have a backlog, in the order in which they were counted first.
    pub(crate) fn next_in_backlog(&self, most: usize) -> Vec<Name> {
        self.backlog.take(most)
    }

    /// Returns a key whose report has failed to the backlog.
    pub(crate) fn return_to_backlog(&self, key: Key, name: &Arc<[u8]>) {
        self.backlog.put(key, name);
    }

    /// Returns how many keys may have a backlog.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog.len()
    }

    /// Changes this node's share. If another thread changes it at this moment, the next call does it.
    pub(crate) fn set_share(&self, share: Share) {
        if self.shares.load().share != share {
            if let Some(limits) = self.limits.try_lock() {
                // Cannot fail: a part of a limit that was valid is valid.
                let _ = self.apply(Shares::new(&limits, share));
            }
        }
    }

    /// Changes some limits. Usage stays.
    pub(crate) fn update_limits(&self, new: &[(Tag, Limit)]) -> Result<(), UpdateError> {
        let mut limits = self.limits.lock();
        let mut changed = limits.clone();
        for (tag, limit) in new {
            for (_, place) in changed.iter_mut().filter(|(other, _)| other == tag) {
                *place = limit.clone();
            }
        }
        self.apply(Shares::new(&changed, self.shares.load().share))?;
        *limits = changed;
        Ok(())
    }

    pub(crate) fn set_scale(&self, scale: Scale) {
        self.counts.set_scale(scale);
    }

    /// Removes idle keys from about `max_slots` slots. Returns how many.
    pub(crate) fn sweep(&self, max_slots: usize) -> usize {
        if !self.is_used() {
            return 0;
        }
        let removed = self.counts.sweep(max_slots);
        self.reported.sweep(max_slots);
        // Cleared before the keys are counted: a call that is admitted in between is either counted or sets it again.
        // Release, as in `end`.
        self.used.store(false, Ordering::Release);
        if !self.counts.is_empty() {
            self.used.store(true, Ordering::Release);
        }
        removed
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.counts.stats();
        let reported = self.reported.stats();
        stats.bytes += reported.bytes;
        // A sweep walks both side by side.
        stats.slots = stats.slots.max(reported.slots);
        stats
    }

    fn apply(&self, shares: Shares) -> Result<(), UpdateError> {
        let limits = shares.limits();
        self.counts.update_limits(&limits)?;
        self.reported.update_limits(&limits)?;
        self.shares.store(Arc::new(shares));
        Ok(())
    }

    /// Returns the key's backlog, which counts as reported from now on.
    fn next_report(&self, question: Question, parts: &Parts) -> Option<Report> {
        let (key, select) = (question.key, Select::Tags(question.tags));
        let held = self.names.taken(key).map(|held| parts.of_own(held));
        let named = if question.takes_names {
            let named = self.names.take(key).into_iter();
            named
                .map(|named| named.map(|taken| parts.of_own(taken)))
                .collect()
        } else {
            Vec::new()
        };
        let backlog = self.backlog_of(
            key,
            select,
            parts,
            held.as_ref().filter(|_| !question.takes_names),
        );
        let backlog = match backlog {
            Some(backlog) => backlog,
            None if named.is_empty() => return None,
            None => Known {
                at: question.now,
                windows: Vec::new(),
            },
        };
        let unnamed = backlog.with(held.as_ref().filter(|_| question.takes_names), Join::Beyond);
        Some(Report {
            backlog,
            unnamed,
            named,
            until: Nanos(self.last_admitted.load(Ordering::Relaxed)),
        })
    }

    /// Returns what is to be reported of these windows without what is `held` back, in units of the whole limits. It counts
    /// as reported from now on.
    fn backlog_of(
        &self,
        key: Key,
        select: Select,
        parts: &Parts,
        held: Option<&Known>,
    ) -> Option<Known> {
        let counted = self.counts.read(parts.counts(), key, select)?;
        let held = held.map(|held| parts.of_used(held));
        let counted = counted.with(held.as_ref(), Join::Beyond);
        let reported = self.reported.read(parts.reported(), key, select);
        let backlog = counted.with(reported.as_ref(), Join::Beyond);
        if backlog.is_blank()
            || !self
                .reported
                .write(parts.reported(), key, &counted, Import::Replace)
        {
            return None;
        }
        Some(parts.to_whole(&backlog))
    }

    fn put_back(&self, report: &Report, question: Question, parts: &Parts) {
        let named = report.named.iter().cloned();
        let named = named.map(|named| named.map(|taken| parts.to_own(taken)));
        self.names.put(question.key, named);
        self.subtract_reported(&report.backlog, question, parts);
    }

    fn subtract_reported(&self, backlog: &Known, question: Question, parts: &Parts) {
        let is_new = self.start(question, parts);
        let Question { key, now, .. } = question;
        let tags: Vec<Tag> = backlog.windows.iter().map(|(tag, _)| *tag).collect();
        let select = Select::Tags(&tags);
        // As of now: it has not drained in flight.
        let back = Known {
            at: now,
            windows: parts.of_used(backlog).windows,
        };
        let reported = self.reported.read(parts.reported(), key, select);
        let missing = back.with(reported.as_ref(), Join::Beyond);
        self.reported.clear(key, select);
        if let Some(reported) = reported {
            let rest = reported.with(Some(&back), Join::Beyond);
            self.reported
                .write(parts.reported(), key, &rest, Import::Replace);
        }
        if !missing.is_blank() {
            let counted = self.counts.read(parts.counts(), key, select);
            let counted = missing.with(counted.as_ref(), Join::Sum);
            self.counts
                .write(parts.counts(), key, &counted, Import::Replace);
        }
        self.end(question, parts, is_new);
    }

    /// Starts to count a key from the state that the authority reported last, unless it is counted already. Returns
    /// whether it was not.
    fn start(&self, question: Question, parts: &Parts) -> bool {
        let Question { key, last, .. } = question;
        let counted = self.counts.read(parts.counts(), key, Select::All);
        if counted.is_some() {
            return false;
        }
        self.reported.clear(key, Select::All);
        if let Some(last) = last() {
            let base = parts.of_whole(&last);
            // Without room it shares a count with other keys, in which nothing is known of a single one.
            let counts = parts.counts();
            if self.counts.write(counts, key, &base, Import::Replace) {
                self.reported
                    .write(parts.reported(), key, &base, Import::Replace);
            }
        }
        true
    }

    /// Records that a call was admitted. Relaxed: a report is made under the lock of its key, which each of the key's
    /// calls had.
    fn admitted(&self, now: Nanos) {
        self.last_admitted.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Ends each step that may have started to count a key.
    fn end(&self, question: Question, parts: &Parts, is_new: bool) {
        // Release: see `is_used`.
        self.used.store(true, Ordering::Release);
        let (key, counts) = (question.key, parts.counts());
        if is_new && self.counts.read(counts, key, Select::All).is_some() {
            self.backlog.put(question.key, question.name);
        }
    }
}
