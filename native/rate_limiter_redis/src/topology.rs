//! The discovery of servers: once for a single server, and again and again with Sentinel and in a cluster.

mod cluster;
mod sentinel;
mod startup_queue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::{Endpoint, Topology};
use crate::connection::ConnectOptions;
use crate::context::Context;
use crate::observer::{Change, ConnectionEvent};
use crate::routes::{RouteTable, Routes};
use crate::server::Server;
use crate::server_kind::ServerKind;

/// The time after which a reason is reported again, if servers were found meanwhile.
const CALM: Duration = Duration::from_secs(10);

/// The maximum number of reasons that are reported until servers are found.
const MAX_REASONS: usize = 16;

/// The time after which the next Sentinel or node is queried, too, if the one before has not replied yet.
const QUERY_DELAY: Duration = Duration::from_millis(500);

/// What a discovery reads and writes.
pub(crate) struct Discovery {
    pub(crate) context: Arc<Context>,
    pub(crate) routes: Arc<RouteTable>,
    /// Why the topology is unknown or out of date, if it is.
    pub(crate) problem: watch::Sender<Option<String>>,
    /// The reasons that were reported, so that each is one event and not one for each attempt.
    pub(crate) reported: Vec<(String, Instant)>,
    /// How to connect to Sentinels.
    pub(crate) sentinel_options: ConnectOptions,
}

impl Discovery {
    fn succeeded(&mut self) {
        self.problem.send_replace(None);
        self.reported.retain(|(_, at)| at.elapsed() < CALM);
    }

    /// Reports that the nodes `queried` do not name the servers.
    fn failed(&mut self, queried: &[Endpoint], problem: String) {
        let is_new = self
            .reported
            .iter()
            .all(|(reported, _)| *reported != problem);
        if is_new && self.reported.len() < MAX_REASONS {
            let names: Vec<_> = queried.iter().map(Endpoint::to_string).collect();
            self.context.observer.connection(&ConnectionEvent {
                server: &names.join(", "),
                change: Change::Failed(&problem),
            });
            self.reported.push((problem.clone(), Instant::now()));
        }
        self.problem.send_replace(Some(problem));
    }
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
            ..
        } => Some(sentinel::start(sentinels, group, credentials, discovery)),
        Topology::Cluster { seeds } => Some(cluster::start(seeds, discovery)),
    }
}
