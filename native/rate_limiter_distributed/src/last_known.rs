//! What Redis said last of each key: to go on from while it is away, and to put back what it has lost.
//!
//! A bounded table of absolute states. Each connection's are kept apart, since a server that was reached anew may have
//! lost what it said before: until a key is heard of again, its state from before is what Redis must have at least.

use std::sync::atomic::{AtomicU64, Ordering};

use rate_limiter_core::{
    Adopt, Algorithm, Answer, Epoch, Join, Key, Known, Limit, LimitError, Limiter, Nanos, Options,
    Scale, Select, Stats, Tag, UpdateError,
};

use crate::server_clock::ServerClock;

/// So many connections back, what was said is still known.
const DEPTH: u64 = 16;

#[derive(Debug)]
pub(crate) struct LastKnown {
    limiter: Limiter,
    tenancy: Epoch,
    /// The connection that was used last, and when it was first.
    latest: AtomicU64,
    since: AtomicU64,
    /// How long the slowest window remembers anything.
    longest: AtomicU64,
}

impl LastKnown {
    /// Remembers at most `max_keys`, of limits as they are configured.
    pub(crate) fn new(
        limits: &[(Tag, Limit)],
        clock: &ServerClock,
        max_keys: u64,
    ) -> Result<Self, LimitError> {
        let options = Options {
            clock: clock.clock(),
            max_keys,
        };
        let (limiter, tenancy) = Limiter::new(limits, options)?;
        let longest = limits.iter().map(|(_, limit)| longest_debt(limit)).max();
        Ok(Self {
            limiter,
            tenancy,
            latest: AtomicU64::new(0),
            since: AtomicU64::new(0),
            longest: AtomicU64::new(longest.map_or(0, |longest| longest.0)),
        })
    }

    /// Takes note of which connection is used at this moment.
    pub(crate) fn note(&self, connection: u64, elapsed: Nanos) {
        if self.latest.load(Ordering::Relaxed) < connection {
            // In this order: who sees the new connection with the old moment looks back longer than it needs to.
            self.since.store(elapsed.0, Ordering::Relaxed);
            self.latest.store(connection, Ordering::Release);
        }
    }

    /// Redis has said this, over `connection`, which since then has not been given up.
    pub(crate) fn adopt(&self, connection: u64, key: Key, known: &Known, elapsed: Nanos) {
        self.write(key.nth(connection), known, Adopt::Instead);
        let tags: Vec<Tag> = known.windows.iter().map(|(tag, _)| *tag).collect();
        for earlier in self.earlier(connection, elapsed) {
            self.forget(key.nth(earlier), Select::Tags(&tags));
        }
    }

    /// Redis has said this over a connection that was given up meanwhile: it may have lost what it said before that.
    pub(crate) fn adopt_late(&self, connection: u64, key: Key, known: &Known) {
        self.write(key.nth(connection), known, Adopt::AtLeast);
    }

    /// What Redis must have of these windows at least, where it was said before `connection` was.
    pub(crate) fn lost(
        &self,
        connection: u64,
        key: Key,
        tags: &[Tag],
        elapsed: Nanos,
    ) -> Option<Known> {
        let mut earlier = self.earlier(connection, elapsed).peekable();
        earlier.peek()?;
        let heard = self.read(key.nth(connection), Select::Tags(tags));
        let lost = earlier.filter_map(|earlier| self.read(key.nth(earlier), Select::Tags(tags)));
        let mut lost = lost.reduce(|newer, older| newer.with(Some(&older), Join::Most))?;
        if let Some(heard) = heard {
            lost.windows.retain(|(tag, _)| heard.window(*tag).is_none());
        }
        (!lost.is_blank()).then_some(lost)
    }

    /// What was said last of each window, over whichever connection.
    pub(crate) fn last(&self, connection: u64, key: Key, elapsed: Nanos) -> Option<Known> {
        let mut last = self.read(key.nth(connection), Select::All);
        for earlier in self.earlier(connection, elapsed) {
            let Some(older) = self.read(key.nth(earlier), Select::All) else {
                continue;
            };
            last = Some(match last {
                None => older,
                Some(mut newer) => {
                    let missing = |(tag, _): &(Tag, _)| newer.window(*tag).is_none();
                    let older = older.moved(newer.at).windows;
                    let older: Vec<_> = older.into_iter().filter(missing).collect();
                    newer.windows.extend(older);
                    newer
                }
            });
        }
        last
    }

    /// What Redis would answer now if nobody else has been there.
    pub(crate) fn peek(
        &self,
        connection: u64,
        key: Key,
        select: Select,
        cost: u64,
    ) -> Option<Answer> {
        let key = key.nth(connection);
        self.limiter.peek_all(self.tenancy, key, select, cost).ok()
    }

    /// The limits are these from now on. What was used stays used.
    pub(crate) fn update_limit(&self, tag: Tag, limit: &Limit) -> Result<(), UpdateError> {
        self.limiter.update_limit(self.tenancy, tag, limit)?;
        let longest = self.longest.load(Ordering::Relaxed);
        let longest = longest.max(longest_debt(limit).0);
        self.longest.store(longest, Ordering::Relaxed);
        Ok(())
    }

    /// Each window's tag, its limit, and the most that it admits at once at the present scale.
    pub(crate) fn limits(&self) -> Vec<(Tag, Limit, u64)> {
        self.limiter.limits(self.tenancy).unwrap_or_default()
    }

    pub(crate) fn set_scale(&self, scale: Scale) {
        // Open as long as this lives.
        let _ = self.limiter.set_scale(self.tenancy, scale);
    }

    pub(crate) fn sweep(&self, max_slots: usize) -> usize {
        self.limiter.sweep(self.tenancy, max_slots).unwrap_or(0)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.limiter.stats(self.tenancy).unwrap_or_default()
    }

    /// The connections before this one over which something was said that can still count, the latest first.
    fn earlier(&self, connection: u64, elapsed: Nanos) -> impl Iterator<Item = u64> {
        let latest = self.latest.load(Ordering::Acquire);
        let since = Nanos(self.since.load(Ordering::Relaxed));
        let longest = Nanos(self.longest.load(Ordering::Relaxed));
        let is_over = connection == latest && elapsed.saturating_sub(since) > longest;
        let first = if is_over {
            connection
        } else {
            connection.saturating_sub(DEPTH)
        };
        (first..connection).rev()
    }

    // The limiter is open as long as this lives, and has the windows that it is asked about.

    fn read(&self, key: Key, select: Select) -> Option<Known> {
        self.limiter
            .snapshot(self.tenancy, key, select)
            .ok()
            .flatten()
    }

    fn write(&self, key: Key, known: &Known, how: Adopt) {
        let _ = self.limiter.adopt(self.tenancy, key, known, how);
    }

    fn forget(&self, key: Key, select: Select) {
        let _ = self.limiter.reset(self.tenancy, key, select);
    }
}

/// How long what was used of a limit can count at most.
fn longest_debt(limit: &Limit) -> Nanos {
    let per = limit.per().as_nanos();
    let longest = match limit.algorithm() {
        Algorithm::TokenBucket { burst: Some(burst) } => {
            per.max(per.saturating_mul(burst.into()) / u128::from(limit.limit().max(1)))
        }
        _ => per,
    };
    // Twice: a sub-window longer, or what one call took at a small scale.
    Nanos(u64::try_from(longest.saturating_mul(2)).unwrap_or(u64::MAX))
}
