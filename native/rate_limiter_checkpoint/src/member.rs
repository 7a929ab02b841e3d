//! A limiter that takes part in checkpoints.

use rate_limiter_core::{Epoch, Limit, Limiter, Tag};

/// A limiter whose states are written, or that continues from them.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Its name, by which it is found again.
    pub name: String,
    /// Each window: its name, its tag and its limit.
    pub windows: Vec<(String, Tag, Limit)>,
    /// The limiter.
    pub limiter: &'a Limiter,
    /// And the epoch of it that is meant.
    pub epoch: Epoch,
}
