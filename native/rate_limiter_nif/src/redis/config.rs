//! The options of a Redis store, from Elixir.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use rate_limiter_distributed::Members;
use rate_limiter_redis::{Config, Credentials, Endpoint, Identity, SentinelTls, Tls, Topology};
use rustler::{Binary, NifMap, NifTaggedEnum, NifTuple, NifUnitEnum};

use crate::refusal::Refusal;

#[derive(NifTuple)]
#[rustler(decode)]
pub(super) struct CredentialsTerm<'a> {
    username: Option<&'a str>,
    password: Option<&'a str>,
}

#[derive(NifTuple)]
#[rustler(decode)]
struct Address<'a> {
    host_or_path: &'a str,
    /// 0 for the path of a Unix socket.
    port: u16,
}

#[derive(NifTaggedEnum)]
#[rustler(decode)]
enum TopologyTerm<'a> {
    Server(Address<'a>),
    /// The group, its Sentinels, their credentials, and their TLS settings: `nil` for unencrypted connections.
    Sentinel(
        &'a str,
        Vec<Address<'a>>,
        CredentialsTerm<'a>,
        SentinelTlsTerm<'a>,
    ),
    Cluster(Vec<Address<'a>>),
}

/// Whose certificates are replaced.
#[derive(NifUnitEnum)]
#[rustler(decode)]
pub(super) enum Peers {
    Servers,
    Sentinels,
}

#[derive(NifTaggedEnum)]
#[rustler(decode)]
enum SentinelTlsTerm<'a> {
    Same,
    Own(Option<TlsTerm<'a>>),
}

/// Certificates and keys are PEM.
#[derive(NifTuple)]
#[rustler(decode)]
pub(super) struct TlsTerm<'a> {
    authorities: Option<Binary<'a>>,
    /// `{certificate, key}`
    identity: Option<(Binary<'a>, Binary<'a>)>,
    verify: bool,
}

#[derive(NifMap)]
#[rustler(decode)]
pub(super) struct ConfigTerm<'a> {
    /// The instance's name in Erlang's external term format.
    pub(super) instance: Binary<'a>,
    pub(super) prefix: &'a str,
    /// Under which ids are hashed.
    pub(super) id_key: Option<Binary<'a>>,
    topology: TopologyTerm<'a>,
    database: u32,
    tls: Option<TlsTerm<'a>>,
    timeout_ms: u64,
    connect_timeout_ms: u64,
    connections: usize,
    max_queue: usize,
    pub(super) cache_denials: bool,
    node: &'a str,
    nodes: u32,
    keep_ms: u64,
}

impl ConfigTerm<'_> {
    pub(super) fn members(&self) -> Members {
        let keep = Duration::from_millis(self.keep_ms);
        Members::new(self.node, self.nodes, keep)
    }

    pub(super) fn client(self, credentials: CredentialsTerm) -> Result<Config, Refusal> {
        Ok(Config {
            topology: self.topology.into(),
            credentials: credentials.into(),
            database: self.database,
            tls: self.tls.map(Tls::from),
            prefix: self.prefix.into(),
            timeout: Duration::from_millis(self.timeout_ms),
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            connections: NonZeroUsize::new(self.connections).ok_or(Refusal::Misuse)?,
            max_queue: self.max_queue,
        })
    }
}

impl From<CredentialsTerm<'_>> for Credentials {
    fn from(credentials: CredentialsTerm) -> Self {
        Self::new(credentials.username, credentials.password)
    }
}

impl From<Address<'_>> for Endpoint {
    fn from(address: Address) -> Self {
        match address.port {
            0 => Self::Unix(PathBuf::from(address.host_or_path)),
            port => Self::tcp(address.host_or_path, port),
        }
    }
}

impl From<TopologyTerm<'_>> for Topology {
    fn from(topology: TopologyTerm) -> Self {
        let endpoints =
            |addresses: Vec<Address>| addresses.into_iter().map(Endpoint::from).collect();
        match topology {
            TopologyTerm::Server(address) => Self::Server(address.into()),
            TopologyTerm::Sentinel(group, sentinels, credentials, tls) => Self::Sentinel {
                sentinels: endpoints(sentinels),
                group: group.to_owned(),
                credentials: credentials.into(),
                tls: match tls {
                    SentinelTlsTerm::Same => SentinelTls::Same,
                    SentinelTlsTerm::Own(tls) => SentinelTls::Own(tls.map(Tls::from)),
                },
            },
            TopologyTerm::Cluster(seeds) => Self::Cluster {
                seeds: endpoints(seeds),
            },
        }
    }
}

impl From<TlsTerm<'_>> for Tls {
    fn from(tls: TlsTerm) -> Self {
        Self {
            roots: tls.authorities.map(|pem| pem.to_vec()),
            identity: tls.identity.map(|(certificate, key)| Identity {
                certificate: certificate.to_vec(),
                key: key.to_vec(),
            }),
            verify: tls.verify,
        }
    }
}
