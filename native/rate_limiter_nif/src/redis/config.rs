//! The store's options, from Elixir.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use rate_limiter_distributed::Members;
use rate_limiter_redis::{Config, Credentials, Endpoint, Identity, Tls, Topology};
use rustler::{Atom, Binary, Error, NifMap, NifResult};

use crate::atoms;

/// `{username | nil, password | nil}`
pub(super) type CredentialsTerm<'a> = (Option<&'a str>, Option<&'a str>);

/// `{kind, addresses, {group, credentials} | nil}`; an address is `{host, port}`, or `{path, 0}`.
type TopologyTerm<'a> = (
    Atom,
    Vec<(&'a str, u16)>,
    Option<(&'a str, CredentialsTerm<'a>)>,
);

/// `{authorities | nil, {certificate, key} | nil, verify?}`, all as PEM.
pub(super) type TlsTerm<'a> = (Option<Binary<'a>>, Option<(Binary<'a>, Binary<'a>)>, bool);

#[derive(NifMap)]
pub(super) struct ConfigTerm<'a> {
    pub(super) instance: Binary<'a>,
    pub(super) prefix: &'a str,
    topology: TopologyTerm<'a>,
    database: u32,
    tls: Option<TlsTerm<'a>>,
    timeout_ms: u64,
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

    pub(super) fn decode(self, (username, password): CredentialsTerm) -> NifResult<Config> {
        Ok(Config {
            topology: topology(self.topology)?,
            credentials: Credentials::new(username, password),
            database: self.database,
            tls: self.tls.map(tls),
            prefix: self.prefix.into(),
            timeout: Duration::from_millis(self.timeout_ms),
            connections: NonZeroUsize::new(self.connections).ok_or(Error::BadArg)?,
            max_queue: self.max_queue,
        })
    }
}

fn topology((kind, addresses, group): TopologyTerm) -> NifResult<Topology> {
    let mut endpoints: Vec<Endpoint> = addresses.into_iter().map(endpoint).collect();
    if kind == atoms::server() {
        let server = endpoints.pop().ok_or(Error::BadArg)?;
        Ok(Topology::Server(server))
    } else if kind == atoms::sentinel() {
        let (group, (username, password)) = group.ok_or(Error::BadArg)?;
        Ok(Topology::Sentinel {
            sentinels: endpoints,
            group: group.to_owned(),
            credentials: Credentials::new(username, password),
        })
    } else if kind == atoms::cluster() {
        Ok(Topology::Cluster { seeds: endpoints })
    } else {
        Err(Error::BadArg)
    }
}

fn endpoint((host, port): (&str, u16)) -> Endpoint {
    match port {
        0 => Endpoint::Unix(PathBuf::from(host)),
        port => Endpoint::tcp(host, port),
    }
}

pub(super) fn tls((roots, identity, verify): TlsTerm) -> Tls {
    Tls {
        roots: roots.map(|pem| pem.as_slice().to_vec()),
        identity: identity.map(|(certificate, key)| Identity {
            certificate: certificate.as_slice().to_vec(),
            key: key.as_slice().to_vec(),
        }),
        verify,
    }
}
