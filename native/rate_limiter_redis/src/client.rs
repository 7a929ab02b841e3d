//! The client: accepts calls on any thread, and answers each exactly once.

use std::sync::Arc;
use std::time::Instant;

use rate_limiter_distributed::{Authority, Call, Done, Failure, Unsent};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::command::{Command, CommandDone};
use crate::config::{Config, SentinelTls, Tls, Topology};
use crate::connection::{ConnectOptions, Encryption};
use crate::context::{count, Context};
use crate::credentials::Credentials;
use crate::error::ConfigError;
use crate::observer::Observer;
use crate::pending::Pending;
use crate::routes::{RouteTable, Routes};
use crate::runtime;
use crate::status::Status;
use crate::topology::{self, Discovery};

/// Carries calls to the servers of one [`Config`].
///
/// Connects and reconnects by itself, on the I/O thread. A call never waits for that longer than its deadline, and
/// without a connection it is returned at once.
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
    routes: Arc<RouteTable>,
    problem: watch::Receiver<Option<String>>,
    discovery: Option<AbortHandle>,
    sentinel_options: ConnectOptions,
}

impl Client {
    /// Starts a client. Returns at once, before it is connected: until then calls wait, up to their deadline.
    ///
    /// Returns an error for an invalid configuration. An unreachable server is not an error.
    pub fn start(config: Config, observer: Arc<dyn Observer>) -> Result<Arc<Self>, ConfigError> {
        validate(&config)?;
        let runtime = runtime::handle()?;
        let options = ConnectOptions {
            encryption: config.tls.as_ref().map(Encryption::new).transpose()?,
            database: config.database,
            connect_timeout: config.connect_timeout,
        };
        let sentinel_options = sentinel_options(&config.topology, &options)?;
        let context = Arc::new(Context::new(options, &config, observer));
        let routes = Arc::new(RouteTable::new(Routes::Unknown));
        let (problem, observed_problem) = watch::channel(None);
        let discovery = Discovery {
            context: Arc::clone(&context),
            routes: Arc::clone(&routes),
            problem,
            reported: Vec::new(),
            sentinel_options: sentinel_options.clone(),
        };
        // Servers spawn tasks, which belong to the runtime.
        let entered = runtime.enter();
        let discovery = topology::start(config.topology, discovery);
        drop(entered);
        Ok(Arc::new(Self {
            context,
            routes,
            problem: observed_problem,
            discovery,
            sentinel_options,
        }))
    }

    /// Returns the state of the servers, and what was done since the start.
    #[must_use]
    pub fn status(&self) -> Status {
        let routes = self.routes.load();
        let servers = routes.servers();
        Status {
            servers: servers.iter().map(|server| server.status()).collect(),
            problem: self.problem.borrow().clone(),
            totals: self.context.counts.totals(),
        }
    }

    /// Uses these credentials from now on. A connection that is up is replaced by one with the new credentials, and
    /// stays in use until then.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.context.credentials.send_replace(credentials);
    }

    /// Uses these certificates for later connections. Returns an error if they cannot be used; then the previous ones
    /// stay. Reading the system's certificates takes some time. Without effect for a client without TLS.
    pub fn set_tls(&self, tls: &Tls) -> Result<(), ConfigError> {
        match &self.context.options.encryption {
            Some(encryption) => encryption.replace(tls),
            None => Ok(()),
        }
    }

    /// Uses these certificates for later connections to Sentinels, if they have settings of their own. See
    /// [`Client::set_tls`].
    pub fn set_sentinel_tls(&self, tls: &Tls) -> Result<(), ConfigError> {
        match &self.sentinel_options.encryption {
            Some(encryption) => encryption.replace(tls),
            None => Ok(()),
        }
    }

    /// Sends a command that is not a call of a limiter. Never blocks. Unless it fails at once, `done` receives the
    /// reply by the same deadline as that of a call.
    pub fn command(&self, command: Command, done: CommandDone) -> Result<(), Failure> {
        let pending = Pending::command(command, done, self.deadline());
        self.submit(pending).map_err(|(pending, failure)| {
            pending.discard();
            failure
        })
    }

    /// Closes all connections. Pending calls are answered by their deadline; later calls are returned.
    pub fn stop(&self) {
        self.routes.set(Routes::Stopped);
        if let Some(discovery) = &self.discovery {
            discovery.abort();
        }
    }

    pub(crate) fn observe_heartbeat(&self, problem: Option<&str>) {
        self.context.observer.heartbeat(problem);
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.context.timeout
    }

    fn submit(&self, pending: Pending) -> Result<(), (Pending, Failure)> {
        let submitted = match self.routes.load().server(pending.key()) {
            Some(server) => server.submit(pending),
            None => Err((pending, Failure::Away)),
        };
        if submitted.is_err() {
            count(&self.context.counts.unsent, 1);
        }
        submitted
    }
}

impl Authority for Client {
    fn send(&self, call: Call, done: Done) -> Result<(), Unsent> {
        match self.submit(Pending::call(call, done, self.deadline())) {
            Ok(()) => Ok(()),
            Err((pending, failure)) => pending.into_unsent(failure).map_or(Ok(()), Err),
        }
    }

    fn send_batch(&self, calls: Vec<(Call, Done)>) -> Vec<Unsent> {
        let deadline = self.deadline();
        let calls = calls.into_iter();
        let calls = calls.map(|(call, done)| Pending::call(call, done, deadline));
        let unsent = self.routes.load().submit_all(calls.collect());
        count(&self.context.counts.unsent, unsent.len());
        let into_unsent = |(pending, failure)| Pending::into_unsent(pending, failure);
        unsent.into_iter().filter_map(into_unsent).collect()
    }

    fn epoch(&self) -> u64 {
        self.context.epoch()
    }

    fn knows_resets(&self) -> bool {
        true
    }

    fn same_server(&self, one: &[u8], other: &[u8]) -> bool {
        self.routes.load().same_server(one, other)
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

/// Returns how to connect to Sentinels. The encryption of the servers is shared, so that it is replaced for both.
fn sentinel_options(
    topology: &Topology,
    servers: &ConnectOptions,
) -> Result<ConnectOptions, ConfigError> {
    let encryption = match topology {
        Topology::Sentinel {
            tls: SentinelTls::Own(tls),
            ..
        } => tls.as_ref().map(Encryption::new).transpose()?,
        _ => servers.encryption.clone(),
    };
    Ok(ConnectOptions {
        encryption,
        database: 0,
        ..servers.clone()
    })
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
    if config.connect_timeout.is_zero() {
        return Err(ConfigError::Zero("connect_timeout"));
    }
    if config.max_queue == 0 {
        return Err(ConfigError::Zero("max_queue"));
    }
    Ok(())
}
