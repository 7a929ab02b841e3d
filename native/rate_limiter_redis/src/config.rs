//! Where the servers are, and how they are spoken to.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::Credentials;

/// The deadline of a call where nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(50);

/// Calls that may wait for one server at once where nothing else is said.
pub const DEFAULT_MAX_QUEUE: usize = 16_384;

/// What a [`Client`](crate::Client) is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which servers there are.
    pub topology: Topology,
    /// What is said to them on connecting. Can be replaced later: [`Client::set_credentials`](crate::Client::set_credentials).
    pub credentials: Credentials,
    /// The number of the database. A cluster has only 0.
    pub database: u32,
    /// How connections are encrypted; `None`: not at all.
    pub tls: Option<Tls>,
    /// What the keys begin with: also the client's own, by which it tries whether the server works.
    pub prefix: Arc<str>,
    /// How long a call may take, waiting included.
    pub timeout: Duration,
    /// Connections to each server. One carries all; more let the next batch go before the last one is answered.
    pub connections: NonZeroUsize,
    /// Calls that may wait for one server; one more is handed back.
    pub max_queue: usize,
}

/// Which servers there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One.
    Server(Endpoint),
    /// A primary and its replicas; sentinels know which is which.
    Sentinel {
        /// Where sentinels are; one that answers is enough.
        sentinels: Vec<Endpoint>,
        /// The name by which they know the group.
        group: String,
        /// What is said to them on connecting.
        credentials: Credentials,
    },
    /// Primaries that share the keys.
    Cluster {
        /// Where nodes are; one that answers is enough, it knows the others.
        seeds: Vec<Endpoint>,
    },
}

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host, by name or address, and a port.
    Tcp {
        /// Name or address, the latter without brackets.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// How connections are encrypted.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificates of the authorities that are trusted, as PEM; `None`: those of the system.
    pub roots: Option<Vec<u8>>,
    /// What we show to a server that asks who we are.
    pub identity: Option<Identity>,
    /// Whether the server must prove who it is. Without that, whoever is in between reads and writes everything.
    pub verify: bool,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate and those that vouch for it, as PEM.
    pub certificate: Vec<u8>,
    /// Its private key, as PEM.
    pub key: Vec<u8>,
}

impl Config {
    /// One server, and the defaults: no credentials, no encryption, database 0.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            credentials: Credentials::default(),
            database: 0,
            tls: None,
            prefix: Arc::from("rate_limiter"),
            timeout: DEFAULT_TIMEOUT,
            connections: NonZeroUsize::MIN,
            max_queue: DEFAULT_MAX_QUEUE,
        }
    }
}

impl Endpoint {
    /// By host and port.
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
