//! What a limiter is made of besides its limits.

use std::sync::Arc;

use rate_limiter_core::Clock;

use crate::members::Members;

/// What a limiter is made of besides its limits and its way to Redis.
#[derive(Clone, Debug)]
pub struct SharedOptions {
    /// Where this node's time comes from. Redis's own is what limits are counted by.
    pub clock: Clock,
    /// What decides while Redis is away.
    pub on_outage: OnOutage,
    /// How many nodes share the limits, and which of them this one is. One for all limiters of an instance.
    pub members: Arc<Members>,
    /// Whether a denial is remembered until it ends, a second at most, so that asking again costs no round trip.
    pub cache_denials: bool,
    /// The most keys whose last answers are remembered, to go on from when Redis is away or has lost them; and at most
    /// as many have their own count in an outage.
    pub remember: u64,
}

/// What decides while Redis is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutage {
    /// This node's share of each limit.
    #[default]
    Share,
    /// Everything is let through.
    Allow,
    /// Nothing is answered.
    Deny,
}
