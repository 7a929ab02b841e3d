//! The parts of a shared limiter.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rate_limiter_core::{Limit, Nanos, Scale, Seed, Tag};

use crate::authority::Authority;
use crate::authority_clock::AuthorityClock;
use crate::denials::Denials;
use crate::fallback::Fallback;
use crate::last_known::LastKnown;
use crate::members::Members;
use crate::meter::MeterError;
use crate::options::{OnOutage, SharedOptions};
use crate::stats::Counters;

use super::outages::Outages;
use super::plan::{Plan, Plans};

pub(super) struct Inner {
    pub(super) plans: ArcSwap<Plans>,
    /// Held while the plans change. No request waits for it.
    pub(super) changing: Mutex<()>,
    pub(super) scale: AtomicU32,
    pub(super) on_outage: OnOutage,
    pub(super) threshold: Option<Scale>,
    pub(super) members: Arc<Members>,
    pub(super) authority: Arc<dyn Authority>,
    pub(super) clock: AuthorityClock,
    pub(super) last_known: LastKnown,
    pub(super) fallback: Fallback,
    pub(super) denials: Option<Denials>,
    pub(super) outages: Outages,
    /// Background calls in flight, and the earliest time of the next ones after a failure.
    pub(super) reconciling: AtomicUsize,
    pub(super) reconcile_from: AtomicU64,
    /// Hashes request ids.
    pub(super) seed: Seed,
    /// Counts receipts, from a random number on: two nodes give no call of one key and moment the same number.
    pub(super) serials: AtomicU64,
    pub(super) counters: Counters,
}

impl Inner {
    pub(super) fn new(
        windows: &[(Tag, &str, Limit)],
        options: SharedOptions,
        authority: Arc<dyn Authority>,
    ) -> Result<Self, MeterError> {
        let SharedOptions {
            clock,
            on_outage,
            members,
            cache_denials,
            remember,
            threshold,
        } = options;
        let plan = Plan::new(windows)?;
        let clock = AuthorityClock::new(clock);
        let share = members.share();
        let tags = windows.iter().map(|(tag, ..)| *tag);
        Ok(Self {
            scale: AtomicU32::new(Scale::ONE.ppm()),
            on_outage,
            threshold,
            members,
            authority,
            last_known: LastKnown::new(&plan.limits(), &clock, remember)?,
            fallback: Fallback::new(plan.limits(), share, &clock, remember)?,
            denials: cache_denials.then(Denials::default),
            plans: ArcSwap::from_pointee(Plans::new(plan)),
            changing: Mutex::new(()),
            clock,
            outages: Outages::default(),
            reconciling: AtomicUsize::new(0),
            reconcile_from: AtomicU64::new(0),
            seed: Seed::random(),
            serials: AtomicU64::new(Seed::random().key(b"receipts").spread() as u64),
            counters: Counters::new(tags),
        })
    }

    pub(super) fn scale(&self) -> Scale {
        Scale::from_ppm(self.scale.load(Ordering::Relaxed))
    }

    pub(super) fn elapsed(&self) -> Nanos {
        self.clock.elapsed()
    }
}
