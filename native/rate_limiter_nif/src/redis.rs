//! The Redis stores of this node, each with its client, its members and its events.

mod command;
mod config;
mod events;
mod status;

use std::sync::Arc;

use rate_limiter_distributed::Authority;
use rate_limiter_redis::{Client, Heartbeat};
use rustler::{Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};

use crate::atoms;
use crate::decode::Arg;
use crate::handle_map::HandleMap;
use crate::refusal::{answer, Refusal};
use crate::store::Store;

use config::{ConfigTerm, CredentialsTerm, Peers, TlsTerm};
use events::Events;
use status::StatusTerm;

pub(crate) use status::BreakerTerm;

/// The Redis store of an instance.
pub(crate) struct RedisStore {
    client: Arc<Client>,
    heartbeat: Heartbeat,
    events: Arc<Events>,
    pub(crate) store: Arc<Store>,
}

/// Keeps a store connected: when the last term that refers to this is freed, the store stops.
struct StoreOwner {
    store: u64,
}

static STORES: HandleMap<RedisStore> = HandleMap::new(1);

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

pub(crate) fn find(store: u64) -> Result<Arc<RedisStore>, Refusal> {
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
        let prefix = config.prefix.into();
        let id_key = config.id_key.map(|key| key.as_slice().into());
        let instance = config.instance.as_slice().into();
        let caches_denials = config.cache_denials;
        let config = config.client(credentials)?;
        let timeout = config.timeout;
        let observer = Arc::clone(&events);
        let client = match Client::start(config, observer) {
            Ok(client) => client,
            Err(error) => return Ok((atoms::error(), error.to_string()).encode(env)),
        };
        let store = Arc::new(Store {
            authority: Arc::clone(&client) as Arc<dyn Authority>,
            members,
            source: atoms::redis(),
            prefix,
            id_key,
            instance,
            caches_denials,
            timeout,
        });
        let store = STORES.insert(Arc::new(RedisStore {
            client,
            heartbeat,
            events,
            store,
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
        Ok(store.store.members.is_settled())
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
        let nodes = store.store.members.nodes();
        let heartbeat = store.heartbeat.problem();
        Ok(StatusTerm::new(store.client.status(), nodes, heartbeat))
    })
}

fn on_store(env: Env<'_>, store: u64, call: impl FnOnce(&RedisStore)) -> NifResult<Term<'_>> {
    answer(env, || {
        call(&*find(store)?);
        Ok(atoms::ok())
    })
}
