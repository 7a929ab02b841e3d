//! The options of a shared limiter.

use std::sync::Arc;

use rate_limiter_core::{Clock, Scale};

use crate::members::Members;

/// The options of a shared limiter, besides its limits and its authority.
#[derive(Clone, Debug)]
pub struct SharedOptions {
    /// This node's clock, which measures the time between replies. Limits are counted by the authority's own clock.
    pub clock: Clock,
    /// What decides while the authority is away.
    pub on_outage: OnOutage,
    /// The nodes that share the limits. All limiters of an instance have the same.
    pub members: Arc<Members>,
    /// Whether a denial is remembered until it ends, at most a second, so that repeating the request costs no round
    /// trip.
    pub cache_denials: bool,
    /// The largest number of keys whose last known state is remembered, and of keys that are counted in an outage.
    pub remember: u64,
    /// The share of a limit whose use is reported, once for each key and period, in [`Response::passed`].
    ///
    /// [`Response::passed`]: crate::Response::passed
    pub threshold: Option<Scale>,
}

/// What decides while the authority is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutage {
    /// This node's share of each limit.
    #[default]
    Share,
    /// All requests are admitted that the authority could admit.
    Allow,
    /// No request is answered.
    Deny,
}
