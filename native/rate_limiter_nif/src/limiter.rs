//! The calls that make, change and describe limiters. Those that walk all shards or free memory run on dirty schedulers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use rate_limiter_core::{
    CallError, Clock, Decisions, Limit, Options, Preview, Scale, Select, Tag, UpdateError,
    WindowStats,
};
use rate_limiter_distributed::{
    SharedLimiter, SharedOptions, SharedUpdateError, SharedWindowStats,
};
use rustler::{Atom, Encoder, Env, NifMap, NifResult, NifUnitEnum, Resource, ResourceArc, Term};

use crate::callers::Callers;
use crate::clock::SharedClock;
use crate::decode::{Arg, List};
use crate::handle::Handle;
use crate::local::{self, Events, Local};
use crate::memory;
use crate::refusal::{answer, Refusal};
use crate::registry::{self, Limiter};
use crate::shared::{self, OnOutageTerm, Shared};
use crate::window::{self, Rejection, Window};
use crate::{atom_bits, atoms, store};

/// Keeps a limiter open: when the last term that refers to this is freed, the limiter is closed and its name is free.
pub(crate) struct Owner {
    handle: Handle,
    names: parking_lot::Mutex<Vec<u64>>,
}

#[rustler::resource_impl]
impl Resource for Owner {}

impl Owner {
    fn new(handle: Handle) -> ResourceArc<Self> {
        let names = parking_lot::Mutex::default();
        ResourceArc::new(Self { handle, names })
    }

    fn close(&self) {
        for name in self.names.lock().drain(..) {
            registry::unbind(name, self.handle);
        }
        registry::close(self.handle);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whose numbers must be able to hold a limit.
#[derive(Clone, Copy, NifUnitEnum)]
enum StoreTerm {
    Local,
    Redis,
}

#[derive(NifMap)]
#[rustler(encode)]
struct LocalStats<'a> {
    windows: Vec<WindowTerm<'a>>,
    keys: u64,
    memory: u64,
    overflowed: u64,
    swept: u64,
    request_ids: u64,
    slots: u64,
}

#[derive(NifMap)]
#[rustler(encode)]
struct SharedStats<'a> {
    windows: Vec<WindowTerm<'a>>,
    keys: u64,
    memory: u64,
    cached_denials: u64,
    fallbacks: u64,
    unavailable: u64,
    pending: u64,
    owing: u64,
    slots: u64,
    away: bool,
}

/// `{window, decisions by source, passed, would_deny}`
type WindowTerm<'a> = (Term<'a>, Vec<DecisionsTerm>, u64, u64);

/// `{source, allowed, denied, unavailable}`
type DecisionsTerm = (Atom, u64, u64, u64);

/// The limit as a store keeps it, `{:ok, {burst | nil, sub_windows | nil}}`, or `{:error, reason}`.
#[rustler::nif]
fn limit_check(env: Env<'_>, window: Window, Arg(store): Arg<StoreTerm>) -> NifResult<Term<'_>> {
    answer(env, || {
        let windows = [window];
        let checked = window::limits(&windows).and_then(|_| match store {
            StoreTerm::Local => Ok(()),
            StoreTerm::Redis => window::fit_shared(env, &windows).map(drop),
        });
        Ok(match checked {
            Ok(()) => (atoms::ok(), windows[0].settings()).encode(env),
            Err((_window, reason)) => (atoms::error(), reason).encode(env),
        })
    })
}

/// `{:ok, handle, owner}` or `{:error, {window | nil, reason}}`
#[rustler::nif(schedule = "DirtyCpu")]
fn new_limiter<'a>(
    env: Env<'a>,
    windows: List<Window>,
    (Arg(events), max_keys, threshold, clock): (Arg<Events>, u64, Option<u32>, Term<'a>),
) -> NifResult<Term<'a>> {
    answer(env, || {
        let clock = decode_clock(clock)?;
        let options = Options { clock, max_keys };
        let opened = window::limits(&windows.0).and_then(|limits| {
            let threshold = threshold.map(Scale::from_ppm);
            local::open(&limits, options, events, threshold).map_err(window::unnamed)
        });
        Ok(owned(env, opened))
    })
}

/// As `new_limiter`, of a limiter that all nodes of a store share; or `:unknown_store`.
#[rustler::nif(schedule = "DirtyCpu")]
fn new_shared_limiter<'a>(
    env: Env<'a>,
    windows: List<Window>,
    (Arg(events), max_keys, threshold, Arg(on_outage)): (
        Arg<Events>,
        u64,
        Option<u32>,
        Arg<OnOutageTerm>,
    ),
    (store, name): (u64, Term<'a>),
) -> NifResult<Term<'a>> {
    answer(env, || {
        let name = atom_bits::text(name).ok_or(Refusal::Misuse)?;
        let store = store::find(store)?;
        let opened = window::limits(&windows.0).and_then(|limits| {
            let named = window::fit_shared(env, &windows.0)?;
            let windows = named.iter().zip(limits);
            let windows: Vec<_> = windows
                .map(|(name, (tag, limit))| (tag, name.as_str(), limit))
                .collect();
            let options = SharedOptions {
                on_outage: on_outage.into(),
                members: Arc::clone(&store.members),
                cache_denials: store.caches_denials,
                clock: Clock::Monotonic,
                remember: max_keys,
                threshold: threshold.map(Scale::from_ppm),
            };
            let limiter = SharedLimiter::new(&windows, options, Arc::clone(&store.authority))
                .map_err(window::unnamed)?;
            Ok(shared::open(Shared {
                limiter,
                namespace: store.namespace(&name),
                events,
                on_outage,
                store,
                callers: Callers::default(),
                generation: AtomicU64::new(0),
            }))
        });
        Ok(owned(env, opened))
    })
}

/// Makes a name mean the owner's limiter.
#[rustler::nif]
fn bind(env: Env<'_>, name: Atom, owner: ResourceArc<Owner>) -> NifResult<Term<'_>> {
    answer(env, || {
        let name = atom_bits::of_atom(name);
        if !registry::bind(name, owner.handle) {
            return Ok((atoms::error(), atoms::taken()).encode(env));
        }
        owner.names.lock().push(name);
        Ok(atoms::ok().to_term(env))
    })
}

/// Takes a name from the limiter of this handle, if it has it.
#[rustler::nif]
fn unbind(env: Env<'_>, name: Atom, handle: u64) -> NifResult<Term<'_>> {
    answer(env, || {
        registry::unbind(atom_bits::of_atom(name), Handle::from_number(handle));
        Ok(atoms::ok())
    })
}

/// Lets calls by the name of this limiter return `:stopping`, until the name is free.
#[rustler::nif]
fn stop_admitting(env: Env<'_>, name: Atom, handle: u64) -> NifResult<Term<'_>> {
    answer(env, || {
        registry::stop(atom_bits::of_atom(name), Handle::from_number(handle));
        Ok(atoms::ok())
    })
}

/// Sets whether tests may own limiters of a name: then a check by that name first returns `:test_owned`.
#[rustler::nif]
fn set_test_owned(env: Env<'_>, name: Atom, owned: bool) -> NifResult<Term<'_>> {
    answer(env, || {
        registry::set_test_owned(atom_bits::of_atom(name), owned);
        Ok(atoms::ok())
    })
}

/// The handle of the limiter of this name that belongs to no test, or `nil`.
#[rustler::nif]
fn handle(env: Env<'_>, name: Atom) -> NifResult<Term<'_>> {
    answer(env, || {
        Ok(registry::handle(atom_bits::of_atom(name)).map(Handle::number))
    })
}

/// Closes the owner's limiter now.
#[rustler::nif(schedule = "DirtyCpu")]
fn drop(env: Env<'_>, owner: ResourceArc<Owner>) -> NifResult<Term<'_>> {
    answer(env, || {
        owner.close();
        memory::release();
        Ok(atoms::ok())
    })
}

/// Changes the limits of some windows, all or none.
#[rustler::nif(schedule = "DirtyCpu")]
fn update_limits<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    windows: List<Window>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let limits = match window::limits(&windows.0) {
            Ok(limits) => limits,
            Err((_, reason)) => return Ok((atoms::error(), reason).encode(env)),
        };
        let updated = match registry::find(limiter)? {
            Limiter::Local(Local { place, epoch }) => {
                refused(place.limiter.update_limits(epoch, &limits))?
            }
            Limiter::Shared(shared) => refused_shared(shared.limiter.update_limits(&limits))?,
        };
        Ok(match updated {
            Ok(()) => atoms::ok().to_term(env),
            Err(reason) => (atoms::error(), reason).encode(env),
        })
    })
}

/// What `update_limits` would do to the present ids: `{ids, denied}`. Visits all of them.
#[rustler::nif(schedule = "DirtyCpu")]
fn preview<'a>(env: Env<'a>, limiter: Term<'a>, windows: List<Window>) -> NifResult<Term<'a>> {
    answer(env, || {
        let limits = match window::limits(&windows.0) {
            Ok(limits) => limits,
            Err((_, reason)) => return Ok((atoms::error(), reason).encode(env)),
        };
        let preview = match registry::find(limiter)? {
            Limiter::Local(Local { place, epoch }) => {
                refused(place.limiter.preview(epoch, &limits))?
            }
            Limiter::Shared(shared) => refused_shared(shared.limiter.preview(&limits))?,
        };
        Ok(match preview {
            Ok(Preview { keys, denied }) => (keys, denied).encode(env),
            Err(reason) => (atoms::error(), reason).encode(env),
        })
    })
}

/// Forgets what all ids of a local limiter have used.
#[rustler::nif(schedule = "DirtyCpu")]
fn forget<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, || {
        let Local { place, epoch } = registry::find_local(limiter)?;
        place.limiter.forget(epoch)?;
        memory::release();
        Ok(atoms::ok())
    })
}

/// Sets when all ids of a shared limiter were reset last, unless a later reset is known. Returns when it was before.
#[rustler::nif]
fn set_generation<'a>(env: Env<'a>, limiter: Term<'a>, generation: u64) -> NifResult<Term<'a>> {
    answer(env, || {
        let shared = registry::find_shared(limiter)?;
        Ok(shared.generation.fetch_max(generation, Ordering::Relaxed))
    })
}

#[rustler::nif]
fn set_scale<'a>(env: Env<'a>, limiter: Term<'a>, ppm: u32) -> NifResult<Term<'a>> {
    answer(env, || {
        let scale = Scale::from_ppm(ppm);
        match registry::find(limiter)? {
            Limiter::Local(local) => local.place.limiter.set_scale(local.epoch, scale)?,
            Limiter::Shared(shared) => shared.limiter.set_scale(scale),
        }
        Ok(atoms::ok())
    })
}

/// `{scale_ppm, [{window, max}]}`
#[rustler::nif]
fn plan<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, || {
        let limiter = registry::find(limiter)?;
        let limits = limiter.limits()?;
        let maxima = limits
            .into_iter()
            .map(|(tag, _, max)| (atom_bits::to_atom(env, tag), max));
        Ok((limiter.scale().ppm(), maxima.collect::<Vec<_>>()))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn stats<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, || {
        Ok(match registry::find(limiter)? {
            Limiter::Local(local) => {
                let stats = local.place.limiter.stats(local.epoch)?;
                LocalStats {
                    windows: stats
                        .windows
                        .iter()
                        .map(|window| local_window(env, window))
                        .collect(),
                    keys: stats.keys,
                    memory: stats.bytes,
                    overflowed: stats.overflowed,
                    swept: stats.swept,
                    request_ids: stats.names,
                    slots: stats.slots,
                }
                .encode(env)
            }
            Limiter::Shared(shared) => {
                let stats = shared.limiter.stats();
                SharedStats {
                    windows: stats
                        .windows
                        .iter()
                        .map(|window| shared_window(env, window, shared.store.source))
                        .collect(),
                    keys: stats.remembered,
                    memory: stats.bytes,
                    cached_denials: stats.cached_denials,
                    fallbacks: stats.fallbacks,
                    unavailable: stats.unavailable,
                    pending: stats.pending,
                    owing: stats.backlog,
                    slots: stats.slots,
                    away: stats.away,
                }
                .encode(env)
            }
        })
    })
}

fn local_window<'a>(env: Env<'a>, window: &WindowStats) -> WindowTerm<'a> {
    let decided = decisions(atoms::local(), window.decisions, 0);
    let name = atom_bits::to_atom(env, window.tag);
    (name, vec![decided], window.passed, window.would_deny)
}

fn shared_window<'a>(env: Env<'a>, window: &SharedWindowStats, source: Atom) -> WindowTerm<'a> {
    let decided = vec![
        decisions(source, window.authority, 0),
        decisions(atoms::fallback(), window.fallback, window.unavailable),
    ];
    let name = atom_bits::to_atom(env, window.tag);
    (name, decided, window.passed, window.would_deny)
}

fn decisions(source: Atom, decided: Decisions, unavailable: u64) -> DecisionsTerm {
    (source, decided.allowed, decided.denied, unavailable)
}

/// Returns whether there is no room for more keys. A shared limiter is never full.
#[rustler::nif]
fn full<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, || match registry::find(limiter)? {
        Limiter::Local(local) => Ok(local.place.limiter.is_full(local.epoch)?),
        Limiter::Shared(_) => Ok(false),
    })
}

/// One small step of a sweep: about `max_slots` places. Returns how many keys it removed.
#[rustler::nif]
fn sweep<'a>(env: Env<'a>, limiter: Term<'a>, max_slots: usize) -> NifResult<Term<'a>> {
    answer(env, || match registry::find(limiter)? {
        Limiter::Local(local) => Ok(local.place.limiter.sweep(local.epoch, max_slots)?),
        Limiter::Shared(shared) => Ok(shared.limiter.sweep(max_slots)),
    })
}

impl Limiter {
    /// The number of selected windows, if the limiter has them all.
    pub(crate) fn windows(&self, select: Select) -> Result<usize, CallError> {
        let limits = self.limits()?;
        let has = |tag: &Tag| limits.iter().any(|(known, ..)| known == tag);
        match select {
            Select::All => Ok(limits.len()),
            Select::Tags(tags) if tags.iter().all(has) => Ok(tags.len()),
            Select::Tags(_) => Err(CallError::UnknownWindow),
        }
    }

    /// The tags of the windows.
    pub(crate) fn tags(&self) -> Result<Vec<Tag>, CallError> {
        Ok(self.limits()?.into_iter().map(|(tag, ..)| tag).collect())
    }

    fn limits(&self) -> Result<Vec<(Tag, Limit, u64)>, CallError> {
        match self {
            Self::Local(local) => local.place.limiter.limits(local.epoch),
            Self::Shared(shared) => Ok(shared.limiter.limits()),
        }
    }

    fn scale(&self) -> Scale {
        match self {
            Self::Local(local) => local.place.limiter.scale(),
            Self::Shared(shared) => shared.limiter.scale(),
        }
    }
}

/// The inner error is a limit that cannot be kept.
fn refused<T>(changed: Result<T, UpdateError>) -> Result<Result<T, String>, CallError> {
    match changed {
        Err(UpdateError::Call(error)) => Err(error),
        changed => Ok(changed.map_err(|error| error.to_string())),
    }
}

fn refused_shared<T>(
    changed: Result<T, SharedUpdateError>,
) -> Result<Result<T, String>, CallError> {
    match changed {
        Err(SharedUpdateError::Call(error)) => Err(error),
        changed => Ok(changed.map_err(|error| error.to_string())),
    }
}

/// `{:ok, handle, owner}` or `{:error, {window | nil, reason}}`
fn owned(env: Env<'_>, opened: Result<Handle, Rejection>) -> Term<'_> {
    match opened {
        Ok(handle) => (atoms::ok(), handle.number(), Owner::new(handle)).encode(env),
        Err(rejection) => (atoms::error(), rejection).encode(env),
    }
}

pub(crate) fn decode_clock(clock: Term) -> NifResult<Clock> {
    if atoms::monotonic() == clock {
        return Ok(Clock::Monotonic);
    }
    let shared: ResourceArc<SharedClock> = clock.decode()?;
    Ok(Clock::Manual(shared.0.clone()))
}
