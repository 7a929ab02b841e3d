//! The server of each key. Read by every call on any thread; replaced when the topology changes.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use rate_limiter_distributed::Failure;

use crate::pending::Pending;
use crate::server::Server;
use crate::slot;

/// The servers, and which keys they own.
pub(crate) enum Routes {
    /// The servers are not known yet. This one is none: its queue takes all calls until then.
    Starting(Arc<Server>),
    /// One server owns all keys.
    Single(Arc<Server>),
    /// Each slot has the number of its server, or [`NO_SERVER`].
    Cluster {
        by_slot: Box<[u16]>,
        servers: Vec<Arc<Server>>,
    },
    /// The servers are not known.
    Unknown,
    /// The client was stopped. No other routes follow.
    Stopped,
}

/// The number of the server of slots without an owner.
pub(crate) const NO_SERVER: u16 = u16::MAX;

/// The present routes.
pub(crate) struct RouteTable(ArcSwap<Routes>);

impl Routes {
    pub(crate) fn server(&self, key: &[u8]) -> Option<&Arc<Server>> {
        match self {
            Self::Starting(server) | Self::Single(server) => Some(server),
            Self::Cluster { by_slot, servers } => {
                let number = by_slot.get(usize::from(slot::of(key)))?;
                servers.get(usize::from(*number))
            }
            Self::Unknown | Self::Stopped => None,
        }
    }

    /// Whether both keys have the same server now, or none.
    pub(crate) fn same_server(&self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Cluster { by_slot, .. } => {
                let number = |key| by_slot.get(usize::from(slot::of(key)));
                number(one) == number(other)
            }
            Self::Starting(_) | Self::Single(_) | Self::Unknown | Self::Stopped => true,
        }
    }

    /// Submits calls that are sent together, as far as they go to the same server. Returns those that were not
    /// accepted.
    pub(crate) fn submit_all(&self, calls: Vec<Pending>) -> Vec<(Pending, Failure)> {
        if let Self::Starting(server) | Self::Single(server) = self {
            return server.submit_all(calls);
        }
        let mut by_server: Vec<(&Arc<Server>, Vec<Pending>)> = Vec::new();
        let mut unsent = Vec::new();
        for pending in calls {
            let Some(server) = self.server(pending.key()) else {
                unsent.push((pending, Failure::Away));
                continue;
            };
            let is_same = |(other, _): &&mut (&Arc<Server>, _)| Arc::ptr_eq(other, server);
            match by_server.iter_mut().find(is_same) {
                Some((_, calls)) => calls.push(pending),
                None => by_server.push((server, vec![pending])),
            }
        }
        for (server, calls) in by_server {
            unsent.extend(server.submit_all(calls));
        }
        unsent
    }

    /// Returns each server once, ordered by address.
    pub(crate) fn servers(&self) -> Vec<&Arc<Server>> {
        let mut servers: Vec<_> = match self {
            Self::Single(server) => vec![server],
            Self::Cluster { servers, .. } => servers.iter().collect(),
            Self::Starting(_) | Self::Unknown | Self::Stopped => Vec::new(),
        };
        servers.sort_by_cached_key(|server| server.endpoint().to_string());
        servers
    }
}

impl RouteTable {
    pub(crate) fn new(routes: Routes) -> Self {
        Self(ArcSwap::from_pointee(routes))
    }

    /// Returns the present routes. Never blocks, since callers are Erlang schedulers.
    pub(crate) fn load(&self) -> Guard<Arc<Routes>> {
        self.0.load()
    }

    /// Replaces the routes, unless the client was stopped.
    pub(crate) fn set(&self, routes: Routes) {
        let routes = Arc::new(routes);
        self.0.rcu(|present| match **present {
            Routes::Stopped => Arc::clone(present),
            _ => Arc::clone(&routes),
        });
    }
}
