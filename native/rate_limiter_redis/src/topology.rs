//! Which servers there are, and how that is found out again when it changes.

mod cluster;
mod lobby;
mod sentinel;
mod server;
pub(crate) mod slot;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::Topology;
use crate::context::Context;
use crate::routes::Map;

/// What a topology works on.
pub(crate) struct Ground {
    pub(crate) context: Arc<Context>,
    pub(crate) map: Arc<Map>,
    /// Why it is not known who is there, if so.
    pub(crate) problem: watch::Sender<Option<String>>,
}

/// Finds the way to the servers, and keeps finding it until it is told not to, where that can change.
pub(crate) fn explore(topology: Topology, ground: Ground) -> Option<AbortHandle> {
    match topology {
        Topology::Server(endpoint) => {
            server::explore(endpoint, &ground);
            None
        }
        Topology::Sentinel {
            sentinels,
            group,
            credentials,
        } => Some(sentinel::explore(sentinels, group, credentials, ground)),
        Topology::Cluster { seeds } => Some(cluster::explore(seeds, ground)),
    }
}
