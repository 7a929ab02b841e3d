//! A primary that Sentinels monitor. Follows it from one server to another.
//!
//! Sentinels announce another primary (`notices`). They are also queried at intervals, since an announcement may be
//! missed.

mod notices;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, ParsingError, Value};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
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

/// For how long a former primary is not used again because a query names it: that Sentinel may be behind. Sentinels agree
/// within a few seconds.
const FENCE: Duration = Duration::from_secs(10);

struct Sentinel {
    discovery: Discovery,
    /// The one that replied last comes first.
    sentinels: Vec<Endpoint>,
    group: String,
    credentials: Credentials,
    /// The connection to the first Sentinel.
    connection: Option<Connected>,
    primary: Option<Arc<Server>>,
    /// The primary before it, and when that was replaced.
    former: Option<(Endpoint, Instant)>,
    events: mpsc::UnboundedSender<TopologyEvent>,
    _listeners: JoinSet<()>,
}

type Connected = (Connection, JoinHandle<()>);

pub(super) fn start(
    sentinels: Vec<Endpoint>,
    group: String,
    credentials: Credentials,
    discovery: Discovery,
) -> AbortHandle {
    let startup_queue = StartupQueue::open(&discovery);
    let (events, received) = mpsc::unbounded_channel();
    let (notices, primaries) = mpsc::unbounded_channel();
    let options = &discovery.sentinel_options;
    let sentinel = Sentinel {
        _listeners: notices::listen(&sentinels, options, &credentials, &group, &notices),
        discovery,
        sentinels,
        group,
        credentials,
        connection: None,
        primary: None,
        former: None,
        events,
    };
    tokio::spawn(sentinel.run(startup_queue, received, primaries)).abort_handle()
}

impl Sentinel {
    async fn run(
        mut self,
        startup_queue: StartupQueue,
        mut events: mpsc::UnboundedReceiver<TopologyEvent>,
        mut notices: mpsc::UnboundedReceiver<Endpoint>,
    ) {
        let limit = self.discovery.context.timeout;
        let _ = timeout(limit, self.discover()).await;
        startup_queue.close(self.primary.is_some());
        loop {
            let is_up = self.primary.as_ref().is_some_and(|server| server.is_up());
            let pause = if is_up { INTERVAL } else { RETRY_INTERVAL };
            tokio::select! {
                biased;
                Some(primary) = notices.recv() => {
                    self.follow(primary);
                    continue;
                }
                _ = events.recv() => {
                    // The Sentinel that named this primary may be behind: query another one first.
                    self.sentinels.rotate_left(1);
                    self.connection = None;
                    sleep(RETRY_INTERVAL.min(pause) / 10).await;
                }
                () = sleep(pause) => {}
            }
            // Events that arrived meanwhile report the same failure.
            while events.try_recv().is_ok() {}
            tokio::select! {
                biased;
                Some(primary) = notices.recv() => self.follow(primary),
                () = self.discover() => {}
            }
        }
    }

    /// Queries the Sentinel that replied last, over its connection, or else one after the other until one knows the
    /// primary. Does not wait for one that hangs.
    async fn discover(&mut self) {
        if let Some((connection, _)) = &self.connection {
            let command = command(&self.group);
            let reply = timeout(QUERY_DELAY, connection.query(&command));
            if let Ok(Ok(Ok(primary))) = reply.await.map(|reply| reply.map(read)) {
                self.found(primary);
                return;
            }
            self.connection = None;
        }
        let options = &self.discovery.sentinel_options;
        let attempts = self.sentinels.clone().into_iter().enumerate();
        let attempts = attempts.map(|(at, sentinel)| {
            let (options, credentials) = (options.clone(), self.credentials.clone());
            let group = self.group.clone();
            async move {
                let found = query(&sentinel, &options, &credentials, &group).await;
                let found = found.map(|(connected, primary)| (at, connected, primary));
                found.map_err(|reason| format!("{sentinel}: {reason}"))
            }
        });
        match race(attempts, QUERY_DELAY).await {
            Some(Ok((at, connected, primary))) => {
                self.sentinels[..=at].rotate_right(1);
                self.connection = Some(connected);
                self.found(primary);
            }
            Some(Err(problem)) => self.failed(problem),
            None => self.failed(String::from("no sentinel")),
        }
    }

    fn found(&mut self, primary: Endpoint) {
        if !self.is_fenced(&primary) {
            self.follow(primary);
        }
        self.discovery.succeeded();
    }

    fn failed(&mut self, problem: String) {
        let mut queried = self.sentinels.clone();
        queried.sort_by_cached_key(Endpoint::to_string);
        self.discovery.failed(&queried, problem);
    }

    /// Whether a query names the primary that was replaced a moment ago, while its successor is up.
    fn is_fenced(&self, primary: &Endpoint) -> bool {
        let was_replaced =
            |(former, at): &(Endpoint, Instant)| former == primary && at.elapsed() < FENCE;
        let is_up = self.primary.as_ref().is_some_and(|server| server.is_up());
        is_up && self.former.as_ref().is_some_and(was_replaced)
    }

    /// Sends all calls to this server from now on. What is queued for the former one, or in flight there, is not
    /// answered by it any more: its writes may be lost.
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
        if let Some(former) = self.primary.replace(server) {
            self.former = Some((former.endpoint().clone(), Instant::now()));
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
) -> Result<(Connected, Endpoint), String> {
    let connected = Connection::connect(sentinel, options, credentials, command(group)).await;
    let (connection, end, reply) = connected.map_err(|error| error.reason().to_owned())?;
    match reply {
        Value::Nil => Err(format!("it does not know the group {group:?}")),
        reply => read(reply)
            .map(|primary| ((connection, end), primary))
            .map_err(|error| error.to_string()),
    }
}

fn command(group: &str) -> Cmd {
    let mut command = redis::cmd("SENTINEL");
    command.arg("get-master-addr-by-name").arg(group);
    command
}

fn read(reply: Value) -> Result<Endpoint, ParsingError> {
    let (host, port) = redis::from_redis_value::<(String, u16)>(reply)?;
    Ok(Endpoint::tcp(&host, port))
}
