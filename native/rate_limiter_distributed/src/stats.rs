//! Counts and sizes of a shared limiter.

use std::sync::atomic::{AtomicU64, Ordering};

use rate_limiter_core::{Decisions, Tag};

use crate::request::{Source, Verdict};

/// Counts since the limiter was created, and its present sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStats {
    /// Requests to take, by window in their configured order.
    pub windows: Vec<SharedWindowStats>,
    /// Those that were denied from memory.
    pub cached_denials: u64,
    /// Requests that this node decided alone.
    pub fallbacks: u64,
    /// Requests without an answer.
    pub unavailable: u64,
    /// Calls in flight.
    pub pending: u64,
    /// Keys whose last known state is remembered.
    pub remembered: u64,
    /// Slots that a sweep inspects until it has visited all of them.
    pub slots: u64,
    /// Keys with usage that is still to be reported to the authority.
    pub backlog: u64,
    /// Bytes in use.
    pub bytes: u64,
    /// Whether a server of the authority is away, so that this node decides some or all calls alone.
    pub away: bool,
}

/// Counts of a window. A request about several windows counts once, for its binding window; without an answer, for the
/// first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedWindowStats {
    /// The window.
    pub tag: Tag,
    /// Requests that the authority decided, also from memory.
    pub authority: Decisions,
    /// Requests that this node decided alone.
    pub fallback: Decisions,
    /// Requests without an answer.
    pub unavailable: u64,
    /// Calls with which a key passed the threshold.
    pub passed: u64,
    /// Admitted requests that the window would have denied if it was enforced.
    pub would_deny: u64,
}

/// The counts, as they grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    windows: Box<[WindowCounters]>,
    pub(crate) cached_denials: Counter,
    pub(crate) fallbacks: Counter,
    pub(crate) unavailable: Counter,
    pub(crate) pending: Counter,
}

#[derive(Debug, Default)]
struct WindowCounters {
    tag: Tag,
    /// Allowed and denied, by the authority and alone.
    decided: [[Counter; 2]; 2],
    unavailable: Counter,
    passed: Counter,
    would_deny: Counter,
}

impl Counters {
    pub(crate) fn new(tags: impl Iterator<Item = Tag>) -> Self {
        let window = |tag| WindowCounters {
            tag,
            ..WindowCounters::default()
        };
        Self {
            windows: tags.map(window).collect(),
            ..Self::default()
        }
    }

    /// Counts a response to a request to take.
    pub(crate) fn respond(&self, tag: Tag, source: Source, verdict: Verdict) {
        let Some(window) = self.window(tag) else {
            return;
        };
        let [allowed, denied] = match source {
            Source::Authority => &window.decided[0],
            Source::Fallback => &window.decided[1],
        };
        match verdict {
            Verdict::Allowed => allowed.add(),
            Verdict::Denied => denied.add(),
            Verdict::Unavailable => window.unavailable.add(),
        }
    }

    /// Counts a call with which a key passed the threshold.
    pub(crate) fn pass(&self, tag: Tag) {
        if let Some(window) = self.window(tag) {
            window.passed.add();
        }
    }

    /// Counts an admitted request that the window would have denied.
    pub(crate) fn would_deny(&self, tag: Tag) {
        if let Some(window) = self.window(tag) {
            window.would_deny.add();
        }
    }

    pub(crate) fn windows(&self) -> Vec<SharedWindowStats> {
        let decisions = |[allowed, denied]: &[Counter; 2]| Decisions {
            allowed: allowed.get(),
            denied: denied.get(),
        };
        let window = |window: &WindowCounters| SharedWindowStats {
            tag: window.tag,
            authority: decisions(&window.decided[0]),
            fallback: decisions(&window.decided[1]),
            unavailable: window.unavailable.get(),
            passed: window.passed.get(),
            would_deny: window.would_deny.get(),
        };
        self.windows.iter().map(window).collect()
    }

    fn window(&self, tag: Tag) -> Option<&WindowCounters> {
        self.windows.iter().find(|window| window.tag == tag)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
