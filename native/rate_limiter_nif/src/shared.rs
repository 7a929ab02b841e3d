//! The limiters that several nodes share, by handle. An authority decides for them, and this node alone in an outage.

use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use rate_limiter_distributed::{OnOutage, SharedLimiter};
use rate_limiter_redis::Namespace;

use crate::callers::Callers;
use crate::handle::{Handle, FIRST_SHARED};
use crate::handle_map::HandleMap;
use crate::local::Events;
use crate::store::Store;

atom_enum!(OnOutageTerm => OnOutage { Share = Share, Allow = Allow, Deny = Deny });

/// A shared limiter, and what its answers need.
pub(crate) struct Shared {
    pub(crate) limiter: SharedLimiter,
    pub(crate) namespace: Namespace,
    pub(crate) events: Events,
    pub(crate) on_outage: OnOutageTerm,
    pub(crate) store: Arc<Store>,
    pub(crate) callers: Callers,
    /// When all ids were reset last, in microseconds of the authority's clock; 0 if never. It is part of their keys, so a new one
    /// leaves all that was counted behind.
    pub(crate) generation: AtomicU64,
}

static SHARED: HandleMap<Shared> = HandleMap::new(FIRST_SHARED);

pub(crate) fn open(shared: Shared) -> Handle {
    Handle::from_number(SHARED.insert(Arc::new(shared)))
}

/// Closes a limiter. Later calls with its handle find no limiter; calls in flight are answered.
pub(crate) fn close(handle: Handle) {
    drop(SHARED.remove(handle.number()));
}

pub(crate) fn find(handle: Handle) -> Option<Arc<Shared>> {
    SHARED.get(handle.number())
}
