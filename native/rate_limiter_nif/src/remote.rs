//! The limiters of this node that others share, by handle: their counts are in Redis.
//!
//! A check never comes here by itself. The calls of `check` answer `:remote` for these, and Elixir asks again, with
//! [`ask`]: what is not known at once is sent to the process that asked.

mod ask;
mod control;
mod encode;
mod ticket;

use std::sync::Arc;

use rate_limiter_distributed::SharedLimiter;
use rate_limiter_redis::Namespace;
use rustler::Term;

use crate::redis::Link;
use crate::registry::{self, Events, Handle, REMOTE};
use crate::shelf::Shelf;
use crate::word;

/// A limiter that asks Redis.
pub(crate) struct Remote {
    limiter: SharedLimiter,
    namespace: Namespace,
    events: Events,
    link: Arc<Link>,
}

static REMOTES: Shelf<Remote> = Shelf::new(REMOTE);

fn open(remote: Remote) -> Handle {
    Handle::from_number(REMOTES.put(Arc::new(remote)))
}

/// Closes a limiter: later calls with its handle find none. Those under way are answered.
pub(crate) fn close(handle: Handle) {
    drop(REMOTES.take(handle.number()));
}

pub(crate) fn find(handle: Handle) -> Option<Arc<Remote>> {
    REMOTES.get(handle.number())
}

/// The remote limiter that a name or a handle means. A test's own is never one.
fn named(limiter: Term) -> Option<Arc<Remote>> {
    let handle = if limiter.is_atom() {
        registry::shared(word::of(limiter))?
    } else {
        Handle::from_number(limiter.decode().ok()?)
    };
    find(handle)
}
