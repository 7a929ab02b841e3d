//! The ways to Redis of this node: each with its client, and with what its instance is told.

mod command;
mod config;
mod status;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use rate_limiter_distributed::{Authority, Members};
use rate_limiter_redis::{Client, Credentials, Heartbeat};
use rustler::{Atom, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};

use crate::atoms;
use crate::catch_panic::catch_panic;
use crate::encode::binary;
use crate::handle_map::HandleMap;

use config::{ConfigTerm, CredentialsTerm, TlsTerm};
use watcher::Watcher;

/// A way to Redis.
pub(crate) struct Link {
    client: Arc<Client>,
    members: Arc<Members>,
    heartbeat: Heartbeat,
    watcher: Arc<Watcher>,
    prefix: Arc<str>,
    /// The instance's name in Erlang's external term format.
    instance: Box<[u8]>,
    caches_denials: bool,
    wait: Duration,
}

/// Keeps a link up: when the last term that refers to this is gone, so is the link.
struct LinkOwner {
    store: u64,
}

/// A link is called by a number that is never given twice.
static LINKS: HandleMap<Link> = HandleMap::new(1);

/// How much longer than its deadline a caller waits for the thread that answers it.
const GRACE: Duration = Duration::from_millis(50);

#[rustler::resource_impl]
impl Resource for LinkOwner {}

impl LinkOwner {
    fn close(&self) {
        if let Some(link) = LINKS.remove(self.store) {
            link.client.stop();
        }
    }
}

impl Drop for LinkOwner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Link {
    pub(crate) fn authority(&self) -> Arc<dyn Authority> {
        Arc::clone(&self.client) as Arc<dyn Authority>
    }

    pub(crate) fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members)
    }

    /// The instance's name, as `:erlang.binary_to_term/1` reads it.
    pub(crate) fn instance<'a>(&self, env: Env<'a>) -> Term<'a> {
        binary(env, &self.instance)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
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

pub(crate) fn find(store: u64) -> Option<Arc<Link>> {
    LINKS.get(store)
}

/// `{:ok, store, owner}` or `{:error, reason}`. Connects in the background.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_start<'a>(
    env: Env<'a>,
    config: ConfigTerm<'a>,
    credentials: CredentialsTerm<'a>,
) -> NifResult<Term<'a>> {
    catch_panic(|| {
        let members = Arc::new(config.members());
        let watcher = Arc::new(Watcher::default());
        let heartbeat = Heartbeat::new(config.prefix, Arc::clone(&members));
        let prefix = Arc::from(config.prefix);
        let caches_denials = config.cache_denials;
        let instance = config.instance.as_slice().into();
        let config = config.decode(credentials)?;
        let wait = config.timeout + GRACE;
        let observer = Arc::clone(&watcher);
        Ok(match Client::start(config, observer) {
            Ok(client) => {
                let store = LINKS.insert(Arc::new(Link {
                    client,
                    members,
                    heartbeat,
                    watcher,
                    prefix,
                    instance,
                    caches_denials,
                    wait,
                }));
                let owner = ResourceArc::new(LinkOwner { store });
                (atoms::ok(), store, owner).encode(env)
            }
            Err(error) => (atoms::error(), error.to_string()).encode(env),
        })
    })
}

/// Closes the owner's link now.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_stop(owner: ResourceArc<LinkOwner>) -> NifResult<Atom> {
    catch_panic(|| {
        owner.close();
        Ok(atoms::ok())
    })
}

/// Says who is to be told of what happens: `{:redis_event, event}`. Answers what happened when there was nobody.
#[rustler::nif]
fn redis_watch(env: Env<'_>, store: u64, watcher: LocalPid) -> NifResult<Term<'_>> {
    catch_panic(|| {
        Ok(match find(store) {
            Some(link) => link.watcher.tell_to(watcher).encode(env),
            None => atoms::unknown_store().to_term(env),
        })
    })
}

/// Says whether the ends of batches are to be told, too.
#[rustler::nif]
fn redis_listen(store: u64, listen: bool) -> NifResult<Atom> {
    on_link(store, |link| link.watcher.listen(listen))
}

/// Says that a batch's event was dealt with.
#[rustler::nif]
fn redis_heard(store: u64) -> NifResult<Atom> {
    on_link(store, |link| link.watcher.heard())
}

/// Who this node is to Redis from now on.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_credentials(store: u64, credentials: CredentialsTerm) -> NifResult<Atom> {
    let (username, password) = credentials;
    on_link(store, |link| {
        link.client
            .set_credentials(Credentials::new(username, password));
    })
}

/// What the next connections trust and show. `{:error, reason}` where that cannot be used, and nothing has changed.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_tls<'a>(env: Env<'a>, store: u64, tls: TlsTerm<'a>) -> NifResult<Term<'a>> {
    catch_panic(|| {
        Ok(match find(store) {
            None => atoms::unknown_store().to_term(env),
            Some(link) => match link.client.set_tls(&config::tls(tls)) {
                Ok(()) => atoms::ok().to_term(env),
                Err(error) => (atoms::error(), error.to_string()).encode(env),
            },
        })
    })
}

/// Says in Redis that this node is there.
#[rustler::nif]
fn redis_beat(store: u64) -> NifResult<Atom> {
    on_link(store, |link| {
        // Where Redis is away there is nobody to tell; the next beat tries again.
        let _away = link.heartbeat.beat(&link.client);
    })
}

/// Says in Redis that this node leaves.
#[rustler::nif]
fn redis_leave(store: u64) -> NifResult<Atom> {
    on_link(store, |link| {
        let _away = link.heartbeat.leave(&link.client);
    })
}

/// See [`status`]. Looks behind locks.
#[rustler::nif(schedule = "DirtyIo")]
fn redis_status(env: Env<'_>, store: u64) -> NifResult<Term<'_>> {
    catch_panic(|| {
        Ok(match find(store) {
            Some(link) => status::encode(env, &link.client.status(), link.members.share()),
            None => atoms::unknown_store().to_term(env),
        })
    })
}

fn on_link(store: u64, call: impl FnOnce(&Link)) -> NifResult<Atom> {
    catch_panic(|| {
        Ok(match find(store) {
            Some(link) => {
                call(&link);
                atoms::ok()
            }
            None => atoms::unknown_store(),
        })
    })
}
