//! The discovery of servers: once for a single server, and again and again with Sentinel and in a cluster.

mod cluster;
mod sentinel;
mod startup_queue;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::Topology;
use crate::context::Context;
use crate::routes::{RouteTable, Routes};
use crate::server::Server;
use crate::server_kind::ServerKind;

/// What a discovery reads and writes.
pub(crate) struct Discovery {
    pub(crate) context: Arc<Context>,
    pub(crate) routes: Arc<RouteTable>,
    /// Why the topology is unknown or out of date, if it is.
    pub(crate) problem: watch::Sender<Option<String>>,
}

/// Starts the discovery of servers. Must be called on the runtime. The returned task ends when it is aborted; a single
/// server needs none.
pub(crate) fn start(topology: Topology, discovery: Discovery) -> Option<AbortHandle> {
    match topology {
        Topology::Server(endpoint) => {
            let server = Server::start(&discovery.context, endpoint, ServerKind::Single);
            discovery.routes.set(Routes::Single(server));
            None
        }
        Topology::Sentinel {
            sentinels,
            group,
            credentials,
        } => Some(sentinel::start(sentinels, group, credentials, discovery)),
        Topology::Cluster { seeds } => Some(cluster::start(seeds, discovery)),
    }
}
