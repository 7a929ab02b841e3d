//! The Redis stores of this node, each with its client, its members and its events.

mod command;
mod config;
mod events;
mod status;

use std::sync::Arc;
use std::time::Duration;

use rate_limiter_distributed::{Authority, Members};
use rate_limiter_redis::{Client, Heartbeat, Namespace};
use rustler::{Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};

use crate::atoms;
use crate::binary::binary;
use crate::decode::Arg;
use crate::handle_map::HandleMap;
use crate::refusal::{answer, Refusal};

use config::{ConfigTerm, CredentialsTerm, Peers, TlsTerm};
use events::Events;
use status::StatusTerm;

/// The Redis store of an instance.
pub(crate) struct Store {
    client: Arc<Client>,
    members: Arc<Members>,
    heartbeat: Heartbeat,
    events: Arc<Events>,
    prefix: Arc<str>,
    id_key: Option<Box<[u8]>>,
    /// The instance's name in Erlang's external term format.
    instance: Box<[u8]>,
    caches_denials: bool,
    wait: Duration,
}

/// Keeps a store connected: when the last term that refers to this is freed, the store stops.
struct StoreOwner {
    store: u64,
}

static STORES: HandleMap<Store> = HandleMap::new(1);

/// How much longer than its deadline a caller waits for the thread that answers it.
const GRACE: Duration = Duration::from_millis(50);

#[rustler::resource_impl]
impl Resource for StoreOwner {}

impl StoreOwner {
    fn close(&self) {
        if let Some(store) = STORES.remove(self.store) {
            store.client.stop();
        }
    }
}

impl Drop for StoreOwner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store {
    pub(crate) fn authority(&self) -> Arc<dyn Authority> {
        Arc::clone(&self.client) as Arc<dyn Authority>
    }

    pub(crate) fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members)
    }

    /// The instance's name, for `:erlang.binary_to_term/1`.
    pub(crate) fn instance<'a>(&self, env: Env<'a>) -> Term<'a> {
        binary(env, &self.instance)
    }

    /// The keys of a limiter.
    pub(crate) fn namespace(&self, limiter: &str) -> Namespace {
        let namespace = Namespace::new(&self.prefix, limiter);
        match &self.id_key {
            Some(key) => namespace.hashing_ids(key),
            None => namespace,
        }
    }

    pub(crate) fn caches_denials(&self) -> bool {
        self.caches_denials
    }

    /// How long a caller waits, in milliseconds.
    #[allow(clippy::cast_possible_truncation)] // some minutes at most
    pub(crate) fn wait_ms(&self) -> u64 {
        self.wait.as_millis() as u64
    }
}

pub(crate) fn find(store: u64) -> Result<Arc<Store>, Refusal> {
    STORES
        .get(store)
        .ok_or_else(|| atoms::unknown_store().into())
}

/// Connects in the background. Returns `{:ok, store, owner}` or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_start<'a>(
    env: Env<'a>,
    Arg(config): Arg<ConfigTerm<'a>>,
    Arg(credentials): Arg<CredentialsTerm<'a>>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let members = Arc::new(config.members());
        let events = Arc::new(Events::default());
        let heartbeat = Heartbeat::new(config.prefix, Arc::clone(&members));
        let prefix = Arc::from(config.prefix);
        let id_key = config.id_key.map(|key| key.as_slice().into());
        let instance = config.instance.as_slice().into();
        let caches_denials = config.cache_denials;
        let config = config.client(credentials)?;
        let wait = config.timeout + GRACE;
        let observer = Arc::clone(&events);
        let client = match Client::start(config, observer) {
            Ok(client) => client,
            Err(error) => return Ok((atoms::error(), error.to_string()).encode(env)),
        };
        let store = STORES.insert(Arc::new(Store {
            client,
            members,
            heartbeat,
            events,
            prefix,
            id_key,
            instance,
            caches_denials,
            wait,
        }));
        Ok((atoms::ok(), store, ResourceArc::new(StoreOwner { store })).encode(env))
    })
}

/// Stops the owner's store now.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_stop(env: Env<'_>, owner: ResourceArc<StoreOwner>) -> NifResult<Term<'_>> {
    answer(env, || {
        owner.close();
        Ok(atoms::ok())
    })
}

/// Sends events to a process. Returns the events of the time without one.
#[rustler::nif]
fn redis_subscribe(env: Env<'_>, store: u64, pid: LocalPid) -> NifResult<Term<'_>> {
    answer(env, || Ok(find(store)?.events.subscribe(pid)))
}

/// Sets whether batches are events, too.
#[rustler::nif]
fn redis_report_batches(env: Env<'_>, store: u64, report: bool) -> NifResult<Term<'_>> {
    on_store(env, store, |store| store.events.report_batches(report))
}

/// Confirms that a batch event was handled.
#[rustler::nif]
fn redis_handled(env: Env<'_>, store: u64) -> NifResult<Term<'_>> {
    on_store(env, store, |store| store.events.handled())
}

/// Replaces the credentials of all connections.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_credentials<'a>(
    env: Env<'a>,
    store: u64,
    Arg(credentials): Arg<CredentialsTerm<'a>>,
) -> NifResult<Term<'a>> {
    on_store(env, store, |store| {
        store.client.set_credentials(credentials.into());
    })
}

/// Replaces the certificates of later connections to servers or Sentinels. Returns `{:error, reason}`, and keeps the old
/// ones, if they are invalid.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_tls<'a>(
    env: Env<'a>,
    store: u64,
    Arg(peers): Arg<Peers>,
    Arg(tls): Arg<TlsTerm<'a>>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let (store, tls) = (find(store)?, tls.into());
        let replaced = match peers {
            Peers::Servers => store.client.set_tls(&tls),
            Peers::Sentinels => store.client.set_sentinel_tls(&tls),
        };
        Ok(match replaced {
            Ok(()) => atoms::ok().to_term(env),
            Err(error) => (atoms::error(), error.to_string()).encode(env),
        })
    })
}

/// Sends a heartbeat of this node. Returns whether its share was final before.
#[rustler::nif]
fn redis_beat(env: Env<'_>, store: u64) -> NifResult<Term<'_>> {
    answer(env, || {
        let store = find(store)?;
        // In an outage it is not sent. The next one will be.
        let _away = store.heartbeat.beat(&store.client);
        Ok(store.members.is_settled())
    })
}

/// Removes this node from the members.
#[rustler::nif]
fn redis_leave(env: Env<'_>, store: u64) -> NifResult<Term<'_>> {
    on_store(env, store, |store| {
        let _away = store.heartbeat.leave(&store.client);
    })
}

/// The status of the servers, with counters. Takes locks.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_status(env: Env<'_>, store: u64) -> NifResult<Term<'_>> {
    answer(env, || {
        let store = find(store)?;
        let nodes = store.members.nodes();
        let heartbeat = store.heartbeat.problem();
        Ok(StatusTerm::new(store.client.status(), nodes, heartbeat))
    })
}

fn on_store(env: Env<'_>, store: u64, call: impl FnOnce(&Store)) -> NifResult<Term<'_>> {
    answer(env, || {
        call(&*find(store)?);
        Ok(atoms::ok())
    })
}
