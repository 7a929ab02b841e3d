//! The configuration of a client.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::Credentials;

/// The default of [`Config::timeout`].
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(50);

/// The default of [`Config::connect_timeout`]: five round trips of 400 milliseconds.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The default of [`Config::max_queue`].
pub const DEFAULT_MAX_QUEUE: usize = 16_384;

/// The configuration of a [`Client`](crate::Client).
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers.
    pub topology: Topology,
    /// The servers' credentials, replaceable by [`Client::set_credentials`](crate::Client::set_credentials).
    pub credentials: Credentials,
    /// The database number. A cluster has only database 0.
    pub database: u32,
    /// The TLS settings; `None` for unencrypted connections.
    pub tls: Option<Tls>,
    /// The prefix of all keys, including the key of the client's own health check.
    pub prefix: Arc<str>,
    /// The maximum duration of a call, including its time in the queue.
    pub timeout: Duration,
    /// The maximum duration of an attempt to connect to a server, a Sentinel or a node of a cluster: name, TCP, TLS,
    /// credentials and script together. That takes up to five round trips.
    pub connect_timeout: Duration,
    /// The number of connections to each server. One is enough.
    pub connections: NonZeroUsize,
    /// The maximum number of queued calls for one server. Further calls are returned.
    pub max_queue: usize,
}

/// The servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// A single server.
    Server(Endpoint),
    /// A primary and its replicas, monitored by Sentinels.
    Sentinel {
        /// The addresses of Sentinels. One that replies is enough.
        sentinels: Vec<Endpoint>,
        /// The name of the primary in the Sentinels' configuration.
        group: String,
        /// The Sentinels' credentials.
        credentials: Credentials,
        /// The Sentinels' TLS settings.
        tls: SentinelTls,
    },
    /// A cluster, whose primaries share the keys.
    Cluster {
        /// The addresses of nodes. One that replies is enough, since it knows the others.
        seeds: Vec<Endpoint>,
    },
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host and a port.
    Tcp {
        /// The name or the IP address, the latter without brackets.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// The TLS settings of Sentinels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentinelTls {
    /// Those of the servers.
    Same,
    /// Others; `None` for unencrypted connections.
    Own(Option<Tls>),
}

/// The TLS settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The trusted certificate authorities as PEM; `None` for those of the system.
    pub roots: Option<Vec<u8>>,
    /// The client certificate, for servers that require one.
    pub identity: Option<Identity>,
    /// Whether to verify the server's certificate. Without that, a man in the middle can read and change everything.
    pub verify: bool,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate chain as PEM.
    pub certificate: Vec<u8>,
    /// The private key as PEM.
    pub key: Vec<u8>,
}

impl Config {
    /// Creates a configuration with the defaults: no credentials, no encryption, database 0.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            credentials: Credentials::default(),
            database: 0,
            tls: None,
            prefix: Arc::from("rate_limiter"),
            timeout: DEFAULT_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            connections: NonZeroUsize::MIN,
            max_queue: DEFAULT_MAX_QUEUE,
        }
    }
}

impl Endpoint {
    /// Creates an address of a host and a port.
    #[must_use]
    pub fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp {
            host: Arc::from(host),
            port,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}
