//! The stores of this node that are written in Elixir. Their workers are processes: each gets batches as messages, and
//! passes the value of a key to `store_decide`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rate_limiter_core::{monotonic, utc_ahead, Nanos, Scale, Usage};
use rate_limiter_distributed::{Authority, BreakerState, Call, Members, Meter, WindowCall};
use rate_limiter_store::{Client, Config, Decided, Failed, KeyCalls, Workers, Write};
use rustler::{
    thread, Binary, Encoder, Env, LocalPid, NifMap, NifResult, OwnedEnv, Resource, ResourceArc,
    Term,
};

use crate::binary::binary;
use crate::decode::{Arg, List};
use crate::handle_map::HandleMap;
use crate::op::OpTerm;
use crate::redis::BreakerTerm;
use crate::refusal::{answer, Refusal};
use crate::request::units;
use crate::spin::spin;
use crate::store::Store;
use crate::window::{self, Window};
use crate::{atoms, encode};

/// The store of an instance.
pub(crate) struct CustomStore {
    client: Arc<Client>,
    processes: Arc<Processes>,
    pub(crate) store: Arc<Store>,
}

/// Keeps a store open: when the last term that refers to this is freed, its thread ends.
struct CustomOwner {
    store: u64,
}

/// The calls about one key, for the function that a store calls.
struct Calls(Arc<KeyCalls>);

/// A decision, which a store returns as it got it.
struct Reply(Decided);

/// The processes of a store.
struct Processes {
    workers: Vec<Mutex<Option<LocalPid>>>,
    listener: Mutex<Option<LocalPid>>,
}

/// The numbers of Redis stores are smaller.
static STORES: HandleMap<CustomStore> = HandleMap::new(1 << 40);

#[rustler::resource_impl]
impl Resource for CustomOwner {}

#[rustler::resource_impl]
impl Resource for Calls {}

#[rustler::resource_impl]
impl Resource for Reply {}

#[derive(NifMap)]
#[rustler(decode)]
struct ConfigTerm<'a> {
    /// The instance's name in Erlang's external term format.
    instance: Binary<'a>,
    prefix: &'a str,
    /// Under which ids are hashed.
    id_key: Option<Binary<'a>>,
    timeout_ms: u64,
    workers: usize,
    max_queue: usize,
    cache_denials: bool,
    nodes: u32,
}

#[derive(NifMap)]
#[rustler(encode)]
struct StatusTerm {
    breaker: BreakerTerm,
    workers: usize,
    pending: usize,
    problem: Option<String>,
    nodes: u32,
    calls: u64,
    batches: u64,
    timeouts: u64,
    refused: u64,
    unsent: u64,
    opened: u64,
}

impl CustomOwner {
    fn close(&self) {
        if let Some(store) = STORES.remove(self.store) {
            store.client.stop();
        }
    }
}

impl Drop for CustomOwner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Workers for Processes {
    fn start(&self, worker: usize, number: u64, keys: &[Arc<KeyCalls>]) -> bool {
        let Some(place) = self.workers.get(worker) else {
            return false;
        };
        let pid = *spin(|| place.try_lock());
        pid.is_some_and(|pid| {
            send(pid, |env| {
                let key = |calls: &Arc<KeyCalls>| {
                    let calls = ResourceArc::new(Calls(Arc::clone(calls)));
                    (binary(env, calls.0.key()), calls)
                };
                let keys: Vec<_> = keys.iter().map(key).collect();
                (atoms::store_batch(), number, keys).encode(env)
            })
        })
    }

    fn breaker(&self, from: BreakerState, to: BreakerState, reason: &str) {
        let (from, to) = (BreakerTerm::from(from), BreakerTerm::from(to));
        let listener = *spin(|| self.listener.try_lock());
        listener.map(|pid| {
            send(pid, |env| {
                (atoms::store_breaker(), from, to, reason).encode(env)
            })
        });
    }
}

pub(crate) fn find(store: u64) -> Result<Arc<CustomStore>, Refusal> {
    STORES
        .get(store)
        .ok_or_else(|| atoms::unknown_store().into())
}

/// Starts the thread of a store. Returns `{:ok, store, owner}` or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyIo")]
fn store_start<'a>(env: Env<'a>, Arg(config): Arg<ConfigTerm<'a>>) -> NifResult<Term<'a>> {
    answer(env, || {
        let timeout = Duration::from_millis(config.timeout_ms);
        // Nodes of a custom store do not count each other.
        let members = Arc::new(Members::new("", config.nodes, Duration::MAX));
        let workers = (0..config.workers).map(|_| Mutex::new(None)).collect();
        let listener = Mutex::new(None);
        let processes = Arc::new(Processes { workers, listener });
        let options = Config {
            timeout,
            workers: config.workers,
            max_queue: config.max_queue,
            prefix: config.prefix.into(),
        };
        let started = Client::start(options, Arc::clone(&processes) as Arc<dyn Workers>);
        let client = match started {
            Ok(client) => client,
            Err(error) => return Ok((atoms::error(), error.to_string()).encode(env)),
        };
        let store = Arc::new(Store {
            authority: Arc::clone(&client) as Arc<dyn Authority>,
            members,
            source: atoms::store(),
            prefix: config.prefix.into(),
            id_key: config.id_key.map(|key| key.as_slice().into()),
            instance: config.instance.as_slice().into(),
            caches_denials: config.cache_denials,
            timeout,
        });
        let store = STORES.insert(Arc::new(CustomStore {
            client,
            processes,
            store,
        }));
        Ok((atoms::ok(), store, ResourceArc::new(CustomOwner { store })).encode(env))
    })
}

/// Stops the owner's store now.
#[rustler::nif(schedule = "DirtyIo")]
fn store_stop(env: Env<'_>, owner: ResourceArc<CustomOwner>) -> NifResult<Term<'_>> {
    answer(env, || {
        owner.close();
        Ok(atoms::ok())
    })
}

/// Lets the calling process receive `{:store_breaker, from, to, reason}` from now on.
#[rustler::nif]
fn store_listen(env: Env<'_>, store: u64) -> NifResult<Term<'_>> {
    answer(env, || {
        let store = find(store)?;
        *spin(|| store.processes.listener.try_lock()) = Some(env.pid());
        Ok(atoms::ok())
    })
}

/// Makes the calling process the worker of this number. It gets `{:store_batch, number, [{key, calls}]}` from now on.
#[rustler::nif]
fn store_join(env: Env<'_>, store: u64, worker: usize) -> NifResult<Term<'_>> {
    answer(env, || {
        let store = find(store)?;
        let place = store.processes.workers.get(worker);
        let place = place.ok_or(Refusal::Misuse)?;
        *spin(|| place.try_lock()) = Some(env.pid());
        store.client.join(worker);
        Ok(atoms::ok())
    })
}

/// Decides the calls about a key on its present value: `{:put, value, ttl_ms, reply}`, `{:delete, reply}` or `{:keep,
/// reply}`. Without a time in microseconds since 1970, this node's clock counts.
#[rustler::nif]
fn store_decide<'a>(
    env: Env<'a>,
    calls: ResourceArc<Calls>,
    value: Option<Binary<'a>>,
    now_us: Option<u64>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let now = match now_us {
            Some(micros) => Nanos(micros.saturating_mul(1_000)),
            None => monotonic().saturating_add(utc_ahead()),
        };
        let value = value.as_ref().map(Binary::as_slice);
        let (write, decided) = calls.0.decide(value, now);
        let reply = ResourceArc::new(Reply(decided));
        Ok(match write {
            Write::Put(value, ttl_ms) => {
                (atoms::put(), binary(env, &value), ttl_ms, reply).encode(env)
            }
            Write::Delete => (atoms::delete(), reply).encode(env),
            Write::Keep => (atoms::keep(), reply).encode(env),
        })
    })
}

/// Returns a batch: for each key its reply, or `{certain?, reason}`.
#[rustler::nif]
fn store_finish<'a>(
    env: Env<'a>,
    store: u64,
    worker: usize,
    number: u64,
    results: List<Term<'a>>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let result = |term: &Term<'a>| {
            if let Ok(reply) = term.decode::<ResourceArc<Reply>>() {
                return Ok(Ok(reply.0.clone()));
            }
            let (is_certain, reason): (bool, &str) = term.decode()?;
            let reason = reason.into();
            Ok(Err(Failed { is_certain, reason }))
        };
        let results: NifResult<Vec<_>> = results.0.iter().map(result).collect();
        find(store)?.client.finish(worker, number, results?);
        Ok(atoms::ok())
    })
}

/// One call about a key over these windows, for `store_decide`: what a test of a store asks.
#[rustler::nif]
fn store_calls<'a>(
    env: Env<'a>,
    key: Binary<'a>,
    windows: List<Window>,
    (Arg(op), cost, scale_ppm): (Arg<OpTerm>, i64, u32),
) -> NifResult<Term<'a>> {
    answer(env, || {
        let names = match window::fit_shared(env, &windows.0) {
            Ok(names) => names,
            Err((_window, reason)) => return Ok((atoms::error(), reason).encode(env)),
        };
        let call = |(name, window): (&String, &Window)| {
            let meter = Meter::new(name, &window.limit).map_err(|_invalid| Refusal::Misuse)?;
            let (meter, charge) = (Arc::new(meter), None);
            Ok(WindowCall { meter, charge })
        };
        let calls: Result<Vec<_>, Refusal> = names.iter().zip(&windows.0).map(call).collect();
        let call = Call {
            key: key.as_slice().into(),
            op: op.into(),
            cost: units(cost),
            scale: Scale::from_ppm(scale_ppm),
            windows: calls?.into(),
            request_id: None,
            receipt: None,
            named: Vec::new(),
        };
        Ok(ResourceArc::new(Calls(KeyCalls::new(vec![call]))).encode(env))
    })
}

/// The usage of each window in the reply to the first call about a key, or `:foreign`.
#[rustler::nif]
fn store_usages(env: Env<'_>, reply: ResourceArc<Reply>) -> NifResult<Term<'_>> {
    answer(env, || {
        Ok(match reply.0.replies().first() {
            Some(Ok(reply)) => {
                let usages = reply.windows.iter().map(|window| usage(env, &window.usage));
                usages.collect::<Vec<_>>().encode(env)
            }
            _ => atoms::foreign().to_term(env),
        })
    })
}

/// `{max, remaining, next_ms, reset_ms, retry_ms}`
fn usage<'a>(env: Env<'a>, usage: &Usage) -> Term<'a> {
    let (next_after, reset_after) = (usage.next_after, usage.reset_after);
    let retry = encode::wait(env, usage.retry);
    let times = (next_after.as_millis_ceil(), reset_after.as_millis_ceil());
    (usage.max, usage.remaining, times.0, times.1, retry).encode(env)
}

/// The status of a store, with counters.
#[rustler::nif]
fn store_status(env: Env<'_>, store: u64) -> NifResult<Term<'_>> {
    answer(env, || {
        let store = find(store)?;
        let status = store.client.status();
        Ok(StatusTerm {
            breaker: status.breaker.into(),
            workers: status.workers,
            pending: status.pending,
            problem: status.problem,
            nodes: store.store.members.nodes(),
            calls: status.calls,
            batches: status.batches,
            timeouts: status.timeouts,
            refused: status.refused,
            unsent: status.unsent,
            opened: status.opened,
        })
    })
}

/// Returns whether the process exists. The thread of a store is no scheduler, so it may send.
fn send(pid: LocalPid, message: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) -> bool {
    !thread::is_scheduler_thread() && OwnedEnv::new().send_and_clear(&pid, message).is_ok()
}
