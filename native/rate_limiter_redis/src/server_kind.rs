//! The position of a server in its topology, and what it reports to the discovery of that topology.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::Endpoint;
use crate::pending::Pending;

/// The position of a server in its topology.
#[derive(Clone)]
pub(crate) enum ServerKind {
    /// The only server, at a fixed address.
    Single,
    /// The primary that a Sentinel named. The Sentinel may not know yet that another one was promoted.
    Primary {
        events: mpsc::UnboundedSender<TopologyEvent>,
    },
    /// A primary of a cluster: all keys of a command must lie in one slot.
    Shard {
        events: mpsc::UnboundedSender<TopologyEvent>,
        /// A slot that the server owns. The key of its health check lies there.
        slot: Arc<AtomicU16>,
    },
}

/// A reason to discover the topology again.
pub(crate) enum TopologyEvent {
    /// A node of a cluster redirected these calls.
    Redirected {
        pending: Vec<Pending>,
        /// `host:port` as the node wrote it. An empty host means the node's own.
        address: String,
        from: Endpoint,
        slot: u16,
        /// Whether only these calls go there (`ASK`), and not the slot (`MOVED`).
        asking: bool,
    },
    /// A server is gone, or is not a primary any more.
    ServerFailed,
}

impl ServerKind {
    pub(crate) fn is_shard(&self) -> bool {
        matches!(self, Self::Shard { .. })
    }

    /// Returns the slot in which the key of the health check must lie.
    pub(crate) fn slot(&self) -> Option<u16> {
        match self {
            // Relaxed: a slot that has just moved is redirected like any other call.
            Self::Shard { slot, .. } => Some(slot.load(Ordering::Relaxed)),
            Self::Single | Self::Primary { .. } => None,
        }
    }

    pub(crate) fn report(&self, event: TopologyEvent) {
        match self {
            Self::Primary { events } | Self::Shard { events, .. } => drop(events.send(event)),
            Self::Single => {}
        }
    }
}
