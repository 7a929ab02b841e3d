//! The calls that make, change and describe limiters. None of them is on a check's way; those that walk all shards
//! or free memory run on dirty schedulers.

use std::time::Duration;

use rate_limiter_core::{
    Algorithm, CallError, Clock, Limit, LimitError, Options, Scale, Tag, UpdateError,
};
use rustler::{Atom, Encoder, Env, Error, NifResult, Resource, ResourceArc, Term};

use crate::check::find;
use crate::clock::SharedClock;
use crate::guard::guard;
use crate::registry::{self, Events, Handle};
use crate::{atoms, encode, list, word};

/// Keeps a limiter open: when the last term that refers to this is gone, so are the limiter and its name.
pub(crate) struct Owner {
    handle: Handle,
    names: parking_lot::Mutex<Vec<u64>>,
}

#[rustler::resource_impl]
impl Resource for Owner {}

impl Owner {
    pub(crate) fn new(handle: Handle) -> ResourceArc<Self> {
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

/// `{name, algorithm, limit, per_ns, burst | nil, sub_windows | nil, aligned?}`
pub(crate) type WindowTerm = (Atom, Atom, u64, u64, Option<u64>, Option<u32>, bool);

#[rustler::nif(schedule = "DirtyCpu")]
fn new_limiter<'a>(
    env: Env<'a>,
    windows: Term<'a>,
    options: (Atom, u64, Term<'a>),
) -> NifResult<Term<'a>> {
    guard(|| {
        let limits = match decode_limits(windows)? {
            Ok(limits) => limits,
            Err((name, error)) => return Ok(encode::limit_error(env, Some(name), &error)),
        };
        let (events, max_keys, clock) = options;
        let options = Options {
            clock: decode_clock(clock)?,
            max_keys,
        };
        Ok(
            match registry::open(&limits, options, decode_events(events)?) {
                Ok(handle) => (atoms::ok(), handle.number(), Owner::new(handle)).encode(env),
                Err(error) => encode::limit_error(env, None, &error),
            },
        )
    })
}

/// Makes a name mean the owner's limiter.
#[rustler::nif]
fn bind(env: Env<'_>, name: Atom, owner: ResourceArc<Owner>) -> NifResult<Term<'_>> {
    guard(|| {
        let name = word::of_atom(name);
        Ok(match registry::bind(name, owner.handle) {
            Ok(()) => {
                owner.names.lock().push(name);
                atoms::ok().to_term(env)
            }
            Err(_present) => (atoms::error(), atoms::taken()).encode(env),
        })
    })
}

/// Takes a name from the limiter of this handle, if it has it.
#[rustler::nif]
fn unbind(name: Atom, handle: u64) -> NifResult<Atom> {
    guard(|| {
        registry::unbind(word::of_atom(name), Handle::from_number(handle));
        Ok(atoms::ok())
    })
}

/// Says whether tests may own limiters of a name: then checks by that name ask first who calls.
#[rustler::nif]
fn set_test_owned(name: Atom, owned: bool) -> NifResult<Atom> {
    guard(|| {
        registry::set_test_owned(word::of_atom(name), owned);
        Ok(atoms::ok())
    })
}

/// The handle of the limiter of this name that belongs to no test, or nil.
#[rustler::nif]
fn handle(name: Atom) -> NifResult<Option<u64>> {
    guard(|| Ok(registry::shared(word::of_atom(name)).map(Handle::number)))
}

/// Closes the owner's limiter now.
#[rustler::nif(schedule = "DirtyCpu")]
fn drop(owner: ResourceArc<Owner>) -> NifResult<Atom> {
    guard(|| {
        owner.close();
        Ok(atoms::ok())
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn update_limit<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    window: Atom,
    limit: u64,
    per_ns: u64,
    burst: Option<u64>,
) -> NifResult<Term<'a>> {
    on_limiter(env, limiter, |limiter, epoch| {
        let tag = word::of_atom(window);
        let windows = limiter.limits(epoch)?;
        let Some((_, old, _)) = windows.iter().find(|(known, ..)| *known == tag) else {
            return Err(CallError::UnknownWindow);
        };
        let updated = changed(old, limit, per_ns, burst)
            .map_err(UpdateError::from)
            .and_then(|new| limiter.update_limit(epoch, tag, &new));
        match updated {
            Ok(()) => Ok(atoms::ok().to_term(env)),
            Err(UpdateError::Call(error)) => Err(error),
            Err(error) => Ok((atoms::error(), error.to_string()).encode(env)),
        }
    })
}

#[rustler::nif]
fn set_scale<'a>(env: Env<'a>, limiter: Term<'a>, ppm: u32) -> NifResult<Term<'a>> {
    on_limiter(env, limiter, |limiter, epoch| {
        limiter.set_scale(epoch, Scale::from_ppm(ppm))?;
        Ok(atoms::ok().to_term(env))
    })
}

/// `{scale_ppm, [{window, algorithm, limit, per_ns, burst, effective_max}]}`
#[rustler::nif]
fn plan<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    on_limiter(env, limiter, |limiter, epoch| {
        let windows: Vec<Term> = limiter
            .limits(epoch)?
            .into_iter()
            .map(|(tag, limit, max)| planned(env, tag, &limit, max))
            .collect();
        Ok((limiter.scale().ppm(), windows).encode(env))
    })
}

/// `{keys, bytes, checks, denials, overflowed, swept}`
#[rustler::nif]
fn stats<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    on_limiter(env, limiter, |limiter, epoch| {
        let stats = limiter.stats(epoch)?;
        Ok((
            stats.keys,
            stats.bytes,
            stats.checks,
            stats.denials,
            stats.overflowed,
            stats.swept,
        )
            .encode(env))
    })
}

/// Whether there is no room for more keys.
#[rustler::nif]
fn full<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    on_limiter(env, limiter, |limiter, epoch| {
        Ok(limiter.is_full(epoch)?.encode(env))
    })
}

/// One small step: about `max_slots` places are looked at.
#[rustler::nif]
fn sweep<'a>(env: Env<'a>, limiter: Term<'a>, max_slots: usize) -> NifResult<Term<'a>> {
    on_limiter(env, limiter, |limiter, epoch| {
        Ok(limiter.sweep(epoch, max_slots)?.encode(env))
    })
}

fn on_limiter<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    call: impl FnOnce(
        &rate_limiter_core::Limiter,
        rate_limiter_core::Epoch,
    ) -> Result<Term<'a>, CallError>,
) -> NifResult<Term<'a>> {
    guard(|| {
        let target = match find(env, limiter)? {
            Ok(target) => target,
            Err(answer) => return Ok(answer),
        };
        Ok(call(&target.place.limiter, target.epoch)
            .unwrap_or_else(|error| encode::call_error(env, error)))
    })
}

/// The windows' limits; or the first that cannot be kept, and why.
pub(crate) type Limits = Result<Vec<(Tag, Limit)>, (Atom, LimitError)>;

pub(crate) fn decode_limits(windows: Term) -> NifResult<Limits> {
    let windows: Vec<WindowTerm> = list::decode(windows)?;
    let mut limits = Vec::with_capacity(windows.len());
    for (name, algorithm, limit, per_ns, burst, sub_windows, aligned) in windows {
        let algorithm = decode_algorithm(algorithm, burst, sub_windows, aligned)?;
        let limit = Limit::new(limit, Duration::from_nanos(per_ns), algorithm);
        if let Err(error) = validate(&limit) {
            return Ok(Err((name, error)));
        }
        limits.push((word::of_atom(name), limit));
    }
    Ok(Ok(limits))
}

/// A limit with other numbers: of the same algorithm, with the burst where that has one.
pub(crate) fn changed(
    old: &Limit,
    limit: u64,
    per_ns: u64,
    burst: Option<u64>,
) -> Result<Limit, LimitError> {
    let algorithm = match old.algorithm() {
        Algorithm::TokenBucket { .. } => Algorithm::TokenBucket { burst },
        other => other,
    };
    let new = Limit::new(limit, Duration::from_nanos(per_ns), algorithm);
    validate(&new).map(|()| new)
}

/// A window as `plan` tells it.
pub(crate) fn planned<'a>(env: Env<'a>, tag: Tag, limit: &Limit, max: u64) -> Term<'a> {
    let per = u64::try_from(limit.per().as_nanos()).unwrap_or(u64::MAX);
    let (algorithm, burst) = encode_algorithm(limit);
    let name = word::to_atom(env, tag);
    (name, algorithm, limit.limit(), per, burst, max).encode(env)
}

/// What Erlang hands over as a cost fits 63 bits, so a limit above could never be reached, nor a cost above it told
/// from one that is meant never to be paid.
fn validate(limit: &Limit) -> Result<(), LimitError> {
    let max = i64::MAX.unsigned_abs();
    if limit.limit() > max {
        return Err(LimitError::LimitTooHigh {
            limit: limit.limit(),
            max,
        });
    }
    limit.validate()
}

pub(crate) fn decode_algorithm(
    algorithm: Atom,
    burst: Option<u64>,
    sub_windows: Option<u32>,
    aligned: bool,
) -> NifResult<Algorithm> {
    if algorithm == atoms::token_bucket() {
        Ok(Algorithm::TokenBucket { burst })
    } else if algorithm == atoms::sliding_window() {
        let sub_windows = sub_windows.ok_or(Error::BadArg)?;
        Ok(Algorithm::SlidingWindow { sub_windows })
    } else if algorithm == atoms::sliding_log() {
        Ok(Algorithm::SlidingLog)
    } else if algorithm == atoms::fixed_window() {
        Ok(Algorithm::FixedWindow { aligned })
    } else {
        Err(Error::BadArg)
    }
}

fn encode_algorithm(limit: &Limit) -> (Atom, Option<u64>) {
    match limit.algorithm() {
        Algorithm::TokenBucket { burst } => {
            (atoms::token_bucket(), Some(burst.unwrap_or(limit.limit())))
        }
        Algorithm::SlidingWindow { .. } => (atoms::sliding_window(), None),
        Algorithm::SlidingLog => (atoms::sliding_log(), None),
        Algorithm::FixedWindow { .. } => (atoms::fixed_window(), None),
    }
}

pub(crate) fn decode_events(events: Atom) -> NifResult<Events> {
    if events == atoms::all() {
        Ok(Events::All)
    } else if events == atoms::denials() {
        Ok(Events::Denials)
    } else if events == atoms::none() {
        Ok(Events::None)
    } else {
        Err(Error::BadArg)
    }
}

pub(crate) fn decode_clock(clock: Term) -> NifResult<Clock> {
    if atoms::monotonic() == clock {
        return Ok(Clock::Monotonic);
    }
    let shared: ResourceArc<SharedClock> = clock.decode()?;
    Ok(Clock::Manual(shared.0.clone()))
}
