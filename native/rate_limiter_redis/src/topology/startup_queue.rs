//! The queue for calls that arrive before the servers are known.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Discovery;
use crate::config::Endpoint;
use crate::pending::Submission;
use crate::routes::{RouteTable, Routes};
use crate::server::Server;

/// Takes all calls from the start of a client until the first discovery ends. That is limited to the timeout of a call,
/// so no call waits here for longer.
pub(super) struct StartupQueue {
    submissions: mpsc::UnboundedReceiver<Submission>,
    routes: Arc<RouteTable>,
}

impl StartupQueue {
    pub(super) fn open(discovery: &Discovery) -> Self {
        let (queue, submissions) = Server::detached(&discovery.context, Endpoint::tcp("", 0));
        discovery.routes.set(Routes::Starting(queue));
        let routes = Arc::clone(&discovery.routes);
        Self {
            submissions,
            routes,
        }
    }

    /// Ends the first discovery: sends the calls to the servers it `found`, or reports that there are none.
    pub(super) fn close(mut self, found: bool) {
        if !found {
            self.routes.set(Routes::Unknown);
            return;
        }
        while let Ok(submission) = self.submissions.try_recv() {
            drop(self.routes.load().submit_all(submission.into_vec()));
        }
    }
}
