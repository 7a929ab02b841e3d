//! One window of a key while a call is decided.
//!
//! Nodes may judge a key by several limits of one window, as during a deployment. A state holds what its own limit needs
//! and no more: one of a short period has dropped what a longer period still counts. So such a window has a state for each
//! limit. A call is judged by that of its own limit and counts in all. A limit that is new to the key begins with what
//! the limit of the call before it counts. One that no call was judged by for an hour, and for as long as its usage
//! counts, is forgotten.

use rate_limiter_core::{
    Algorithm, Join, Known, Limit, Nanos, Scale, SingleLimiter, Snapshot, Usage,
};
use rate_limiter_distributed::Charge;

use crate::state::{unused, State, Window};

/// How many limits of one window a key remembers.
const MAX_LIMITS: usize = 4;

const HOUR: Nanos = Nanos(3_600_000_000_000);

pub(crate) struct Judged {
    name: Box<str>,
    own: Judge,
    /// The other limits of the window, the latest first.
    others: Vec<Judge>,
    now: Nanos,
    /// Whether the state has to be written, also if nothing is taken: the limit is new to the key, whose usage counts by it
    /// from now on, or it was not asked about for long.
    pub(crate) is_changed: bool,
}

struct Judge {
    limit: Limit,
    limiter: SingleLimiter,
    asked: Nanos,
}

impl Judged {
    /// Takes the window out of the state of its key.
    pub(crate) fn take_out(state: &mut State, name: &str, limit: &Limit, now: Nanos) -> Self {
        let is_of = |window: &mut Window| window.is_of(name, limit);
        let mut known: Vec<Window> = state.windows.extract_if(.., is_of).collect();
        known.retain(|window| window.asked.saturating_add(remembered(&window.limit)) > now);
        known.sort_by_key(|window| std::cmp::Reverse(window.asked));
        let same = known
            .iter()
            .position(|window| is_same(&window.limit, limit));
        let is_changed = match (same, known.first()) {
            (Some(same), _) if known.len() > 1 => {
                let unasked = now.saturating_sub(known[same].asked).0;
                unasked > remembered(limit).0 / 2
            }
            (Some(_), _) | (None, None) => false,
            (None, Some(_)) => true,
        };
        let own = match (same, known.first()) {
            (Some(same), _) => known.remove(same).limiter(limit, now),
            (None, Some(latest)) => latest.limiter(limit, now),
            (None, None) => SingleLimiter::new(limit).ok(),
        };
        let others = known.into_iter().take(MAX_LIMITS - 1).filter_map(|window| {
            let limiter = window.limiter(&window.limit, now)?;
            let (limit, asked) = (window.limit, window.asked);
            Some(Judge {
                limit,
                limiter,
                asked,
            })
        });
        Self {
            name: name.into(),
            others: others.collect(),
            own: Judge {
                limit: limit.clone(),
                limiter: own.expect("the limit of a meter is valid"),
                asked: now,
            },
            now,
            is_changed,
        }
    }

    /// Puts what is used back into the state of its key.
    pub(crate) fn put_back(mut self, state: &mut State) {
        let judges = std::iter::once(&mut self.own).chain(&mut self.others);
        let mut windows: Vec<Window> = judges
            .map(|judge| {
                let times = (self.now, judge.asked);
                Window::of(&self.name, &judge.limit, &mut judge.limiter, times)
            })
            .collect();
        // All of them for as long as one counts: one that is missing would begin with what another limit counts.
        let until = windows.iter().map(|window| window.until).max();
        for window in &mut windows {
            window.until = until.unwrap_or_default();
        }
        state.windows.append(&mut windows);
    }

    pub(crate) fn peek(&mut self, cost: u64, scale: Scale) -> Usage {
        let usage = self.own.limiter.peek(self.now, cost, scale);
        usage.enforced(self.own.limit.is_enforced())
    }

    pub(crate) fn take(&mut self, cost: u64, scale: Scale) {
        self.grow(|own, now| {
            own.limiter.take(now, cost, scale);
        });
    }

    pub(crate) fn refund(&mut self, cost: u64) {
        let now = self.now;
        self.each(|judge| judge.limiter.refund(now, cost));
    }

    pub(crate) fn give_back(&mut self, at: Nanos, left: u64, cost: u64) {
        let now = self.now;
        self.each(|judge| judge.limiter.give_back(now, at, left, cost));
    }

    /// Counts usage that a node knows: restores what was lost, then adds what was taken.
    pub(crate) fn charge(&mut self, charge: &Charge) {
        self.grow(|own, now| {
            if let Some(least) = &charge.at_least {
                own.join(least, Join::Most, now);
            }
            if let Some(taken) = &charge.taken {
                own.join(taken, Join::Sum, now);
            }
        });
    }

    /// Returns what is used.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        let snapshot = self.own.limiter.snapshot(self.now);
        snapshot.unwrap_or_else(|| unused(&self.own.limit))
    }

    fn each(&mut self, mut change: impl FnMut(&mut Judge)) {
        change(&mut self.own);
        self.others.iter_mut().for_each(change);
    }

    /// Changes what is used, and adds as much to the other limits.
    fn grow(&mut self, change: impl FnOnce(&mut Judge, Nanos)) {
        let now = self.now;
        if self.others.is_empty() {
            return change(&mut self.own, now);
        }
        let before = self.own.used(now);
        change(&mut self.own, now);
        let amount = self.own.used(now).saturating_sub(before);
        for other in self.others.iter_mut().filter(|_| amount > 0) {
            let added = added(&other.limit, amount, now);
            other.join(&added, Join::Sum, now);
        }
    }
}

impl Judge {
    fn join(&mut self, with: &Snapshot, join: Join, now: Nanos) {
        let known = |state: Option<Snapshot>| Known {
            at: now,
            windows: state.into_iter().map(|state| (0, state)).collect(),
        };
        let stored = known(self.limiter.snapshot(now));
        let joined = known(Some(with.clone())).with(Some(&stored), join);
        for (_, mut state) in joined.windows {
            // A bucket never holds more than fits.
            if let Snapshot::Bucket { debt } = &mut state {
                let interval = interval(&self.limit);
                *debt = Nanos(interval.saturating_mul(self.limit.capacity())).min(*debt);
            }
            self.limiter.import(now, &state);
        }
    }

    fn used(&mut self, now: Nanos) -> u64 {
        match self.limiter.snapshot(now) {
            None => 0,
            Some(Snapshot::Bucket { debt }) => debt.0.div_ceil(interval(&self.limit)),
            Some(Snapshot::Window { counts, .. }) => counts.iter().sum(),
            Some(Snapshot::Log { uses }) => uses.iter().map(|(_, units)| units).sum(),
            Some(Snapshot::Fixed { used, .. }) => used,
        }
    }
}

/// Returns whether states of one limit serve the other as well, whatever their amounts.
fn is_same(one: &Limit, other: &Limit) -> bool {
    let rate = |limit: &Limit| match limit.algorithm() {
        Algorithm::TokenBucket { .. } => limit.limit(),
        _ => 0,
    };
    let parts = |limit: &Limit| match limit.algorithm() {
        Algorithm::SlidingWindow { sub_windows } => sub_windows,
        Algorithm::FixedWindow { aligned } => aligned.into(),
        Algorithm::TokenBucket { .. } | Algorithm::SlidingLog => 0,
    };
    one.per() == other.per() && rate(one) == rate(other) && parts(one) == parts(other)
}

fn remembered(limit: &Limit) -> Nanos {
    HOUR.max(limit.longest_use())
}

/// Returns the time between two tokens, rounded up.
fn interval(limit: &Limit) -> u64 {
    Nanos::from(limit.per())
        .0
        .div_ceil(limit.limit().max(1))
        .max(1)
}

/// Returns an amount that was used now.
fn added(limit: &Limit, amount: u64, now: Nanos) -> Snapshot {
    let per = Nanos::from(limit.per());
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => Snapshot::Bucket {
            debt: Nanos(interval(limit).saturating_mul(amount)),
        },
        Algorithm::SlidingWindow { sub_windows } => {
            let width = Nanos(per.0.div_ceil(sub_windows.max(1).into()));
            Snapshot::Window {
                width,
                newest: now.0 / width.0.max(1),
                counts: vec![amount],
            }
        }
        Algorithm::SlidingLog => Snapshot::Log {
            uses: vec![(now, amount)],
        },
        Algorithm::FixedWindow { aligned } => Snapshot::Fixed {
            start: Nanos(if aligned {
                now.0 - now.0 % per.0.max(1)
            } else {
                now.0
            }),
            per,
            used: amount,
        },
    }
}
