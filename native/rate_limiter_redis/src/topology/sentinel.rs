//! A primary that Sentinels monitor. Follows it from one server to another.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::startup_queue::StartupQueue;
use super::{Discovery, QUERY_DELAY};
use crate::config::Endpoint;
use crate::connection::{ConnectOptions, Connection};
use crate::credentials::Credentials;
use crate::race::race;
use crate::routes::Routes;
use crate::server::Server;
use crate::server_kind::{ServerKind, TopologyEvent};

/// The time between queries while the primary is up. A primary that is cut off from its Sentinels may not know that
/// another one was promoted.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time between queries while it is not.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

struct Sentinel {
    discovery: Discovery,
    /// The one that replied last comes first.
    sentinels: Vec<Endpoint>,
    group: String,
    credentials: Credentials,
    primary: Option<Arc<Server>>,
    events: mpsc::UnboundedSender<TopologyEvent>,
}

pub(super) fn start(
    sentinels: Vec<Endpoint>,
    group: String,
    credentials: Credentials,
    discovery: Discovery,
) -> AbortHandle {
    let startup_queue = StartupQueue::open(&discovery);
    let (events, received) = mpsc::unbounded_channel();
    let sentinel = Sentinel {
        discovery,
        sentinels,
        group,
        credentials,
        primary: None,
        events,
    };
    tokio::spawn(sentinel.run(startup_queue, received)).abort_handle()
}

impl Sentinel {
    async fn run(
        mut self,
        startup_queue: StartupQueue,
        mut events: mpsc::UnboundedReceiver<TopologyEvent>,
    ) {
        let limit = self.discovery.context.timeout;
        let _ = timeout(limit, self.discover()).await;
        startup_queue.close(self.primary.is_some());
        loop {
            let is_up = self.primary.as_ref().is_some_and(|server| server.is_up());
            let pause = if is_up { INTERVAL } else { RETRY_INTERVAL };
            tokio::select! {
                _ = events.recv() => {
                    // The Sentinel that named this primary may be behind: query another one first.
                    self.sentinels.rotate_left(1);
                    sleep(RETRY_INTERVAL.min(pause) / 10).await;
                }
                () = sleep(pause) => {}
            }
            // Events that arrived meanwhile report the same failure.
            while events.try_recv().is_ok() {}
            self.discover().await;
        }
    }

    /// Queries one Sentinel after the other, until one knows the primary. Does not wait for one that hangs.
    async fn discover(&mut self) {
        let options = &self.discovery.sentinel_options;
        let attempts = self.sentinels.clone().into_iter().enumerate();
        let attempts = attempts.map(|(at, sentinel)| {
            let (options, credentials) = (options.clone(), self.credentials.clone());
            let group = self.group.clone();
            async move {
                let found = query(&sentinel, &options, &credentials, &group).await;
                let found = found.map(|primary| (at, primary));
                found.map_err(|reason| format!("{sentinel}: {reason}"))
            }
        });
        match race(attempts, QUERY_DELAY).await {
            Some(Ok((at, primary))) => {
                self.sentinels[..=at].rotate_right(1);
                self.follow(primary);
                self.discovery.succeeded();
            }
            Some(Err(problem)) => self.failed(problem),
            None => self.failed(String::from("no sentinel")),
        }
    }

    fn failed(&mut self, problem: String) {
        let mut queried = self.sentinels.clone();
        queried.sort_by_cached_key(Endpoint::to_string);
        self.discovery.failed(&queried, problem);
    }

    fn follow(&mut self, primary: Endpoint) {
        let is_known = |server: &Arc<Server>| *server.endpoint() == primary;
        if self.primary.as_ref().is_some_and(is_known) {
            return;
        }
        let events = self.events.clone();
        let kind = ServerKind::Primary { events };
        let server = Server::start(&self.discovery.context, primary, kind);
        self.discovery
            .routes
            .set(Routes::Single(Arc::clone(&server)));
        if self.primary.replace(server).is_some() {
            // Replication is asynchronous: the new primary may lack the latest writes.
            self.discovery.context.advance_epoch();
        }
    }
}

async fn query(
    sentinel: &Endpoint,
    options: &ConnectOptions,
    credentials: &Credentials,
    group: &str,
) -> Result<Endpoint, String> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("get-master-addr-by-name").arg(group);
    let connected = Connection::connect(sentinel, options, credentials, command).await;
    let (_connection, _end, reply) = connected.map_err(|error| error.reason().to_owned())?;
    match reply {
        Value::Nil => Err(format!("it does not know the group {group:?}")),
        reply => redis::from_redis_value::<(String, u16)>(reply)
            .map(|(host, port)| Endpoint::tcp(&host, port))
            .map_err(|error| error.to_string()),
    }
}
