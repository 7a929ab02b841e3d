//! The client: takes calls from any thread, and answers each exactly once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use rate_limiter_distributed::{Authority, Call, Done, Failure, Unsent};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::command::{Command, CommandDone};
use crate::config::{Config, Tls, Topology};
use crate::connection::{Encryption, Manner};
use crate::context::{count, Context, Counts};
use crate::credentials::Credentials;
use crate::error::ConfigError;
use crate::observer::Observer;
use crate::routes::{Map, Routes};
use crate::runtime;
use crate::status::Status;
use crate::ticket::Ticket;
use crate::topology::{self, Ground};

/// Carries calls to the servers of one [`Config`].
///
/// It connects, and connects again, by itself, on a thread of its own; no caller ever waits for that longer than its
/// deadline, and while it is known that there is no connection, calls are handed back at once.
///
/// ```no_run
/// use rate_limiter_redis::{Client, Config, Endpoint, Topology};
/// use std::sync::Arc;
///
/// let server = Topology::Server(Endpoint::tcp("localhost", 6379));
/// let client = Client::start(Config::new(server), Arc::new(()))?;
/// assert_eq!(client.status().totals.calls, 0);
/// client.stop();
/// # Ok::<(), rate_limiter_redis::ConfigError>(())
/// ```
pub struct Client {
    context: Arc<Context>,
    map: Arc<Map>,
    problem: watch::Receiver<Option<String>>,
    explorer: Option<AbortHandle>,
}

impl Client {
    /// Starts one. Returns at once, without a connection: calls wait for it until their deadline.
    ///
    /// An error says what of the configuration cannot be; servers that cannot be reached are none.
    pub fn start(config: Config, observer: Arc<dyn Observer>) -> Result<Arc<Self>, ConfigError> {
        validate(&config)?;
        let runtime = runtime::handle()?;
        let encryption = config.tls.as_ref().map(Encryption::new).transpose()?;
        let context = Arc::new(Context {
            manner: Manner {
                encryption,
                database: config.database,
            },
            credentials: watch::Sender::new(config.credentials),
            observer,
            prefix: config.prefix,
            timeout: config.timeout,
            connections: config.connections.get(),
            max_queue: config.max_queue,
            counts: Counts::default(),
            epoch: AtomicU64::new(0),
        });
        let map = Arc::new(Map::new(Routes::None));
        let (tell, problem) = watch::channel(None);
        let ground = Ground {
            context: Arc::clone(&context),
            map: Arc::clone(&map),
            problem: tell,
        };
        // Lanes start tasks, which belong to the runtime.
        let entered = runtime.enter();
        let explorer = topology::explore(config.topology, ground);
        drop(entered);
        Ok(Arc::new(Self {
            context,
            map,
            problem,
            explorer,
        }))
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> Status {
        let servers = |routes: &Routes| {
            let lanes = routes.lanes();
            lanes.iter().map(|lane| lane.status()).collect()
        };
        Status {
            servers: self.map.with(servers),
            problem: self.problem.borrow().clone(),
            totals: self.context.counts.totals(),
        }
    }

    /// Uses these from now on: connects with them, and where a connection is up, brings a new one up before it lets
    /// go of the old one.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.context.credentials.send_replace(credentials);
    }

    /// Trusts and shows these from the next connection on. An error says why they cannot be used; then all stays as it
    /// was. Takes its time where the system's certificates are to be read. Connections that are not encrypted stay so.
    pub fn set_tls(&self, tls: &Tls) -> Result<(), ConfigError> {
        match &self.context.manner.encryption {
            Some(encryption) => encryption.replace(tls),
            None => Ok(()),
        }
    }

    /// Sends a command that is not a call of a limiter. Never blocks. Unless it fails at once, `done` receives the reply
    /// by the same deadline as that of a call.
    pub fn command(&self, command: Command, done: CommandDone) -> Result<(), Failure> {
        let ticket = Ticket::command(command, done, Instant::now() + self.context.timeout);
        self.offer(ticket).map_err(|(ticket, failure)| {
            ticket.forget();
            failure
        })
    }

    /// Closes all connections; what waits is answered by its deadline at the latest. Later calls are handed back.
    pub fn stop(&self) {
        self.map.set(Routes::Stopped);
        if let Some(explorer) = &self.explorer {
            explorer.abort();
        }
    }

    fn offer(&self, ticket: Ticket) -> Result<(), (Ticket, Failure)> {
        let offered = self.map.with(|routes| match routes.lane(ticket.key()) {
            Some(lane) => lane.offer(ticket),
            None => Err((ticket, Failure::Away)),
        });
        if offered.is_err() {
            count(&self.context.counts.unsent, 1);
        }
        offered
    }
}

impl Authority for Client {
    fn send(&self, call: Call, done: Done) -> Result<(), Unsent> {
        let ticket = Ticket::call(call, done, Instant::now() + self.context.timeout);
        match self.offer(ticket) {
            Ok(()) => Ok(()),
            Err((ticket, failure)) => ticket.hand_back(failure).map_or(Ok(()), Err),
        }
    }

    fn send_batch(&self, calls: Vec<(Call, Done)>) -> Vec<Unsent> {
        let deadline = Instant::now() + self.context.timeout;
        let tickets = calls.into_iter();
        let tickets = tickets.map(|(call, done)| Ticket::call(call, done, deadline));
        let unsent = self.map.with(|routes| routes.offer_all(tickets.collect()));
        count(&self.context.counts.unsent, unsent.len());
        let hand_back = |(ticket, failure)| Ticket::hand_back(ticket, failure);
        unsent.into_iter().filter_map(hand_back).collect()
    }

    fn epoch(&self) -> u64 {
        self.context.epoch.load(Ordering::Acquire)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

fn validate(config: &Config) -> Result<(), ConfigError> {
    match &config.topology {
        Topology::Sentinel { sentinels, .. } if sentinels.is_empty() => {
            return Err(ConfigError::NoServer("sentinel"));
        }
        Topology::Cluster { seeds } if seeds.is_empty() => {
            return Err(ConfigError::NoServer("node of the cluster"));
        }
        Topology::Cluster { .. } if config.database != 0 => {
            return Err(ConfigError::Database(config.database));
        }
        _ => {}
    }
    if config.timeout.is_zero() {
        return Err(ConfigError::Zero("timeout"));
    }
    if config.max_queue == 0 {
        return Err(ConfigError::Zero("max_queue"));
    }
    Ok(())
}
