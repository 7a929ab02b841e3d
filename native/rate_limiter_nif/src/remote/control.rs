//! The calls that make, change and describe limiters whose counts are in Redis.

use rate_limiter_core::{Clock, Limit, Scale, Tag};
use rate_limiter_distributed::{Meter, OnOutage, SharedLimiter, SharedOptions, SharedUpdateError};
use rate_limiter_redis::Namespace;
use rustler::{Atom, Encoder, Env, Error, NifResult, Term};

use super::{named, open, Remote};
use crate::control::{changed, decode_events, decode_limits, planned, Owner};
use crate::guard::guard;
use crate::{atoms, encode, redis, word};

/// Whether Redis's numbers can hold these windows: `:ok`, or what `new_limiter` would answer.
#[rustler::nif(schedule = "DirtyCpu")]
fn remote_fits<'a>(env: Env<'a>, windows: Term<'a>) -> NifResult<Term<'a>> {
    guard(|| {
        Ok(match fitting(env, windows)? {
            Ok(_limits) => atoms::ok().to_term(env),
            Err(answer) => answer,
        })
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn remote_new<'a>(
    env: Env<'a>,
    windows: Term<'a>,
    (events, max_keys, on_outage): (Atom, u64, Atom),
    (store, name): (u64, Term<'a>),
) -> NifResult<Term<'a>> {
    guard(|| {
        let Some(link) = redis::find(store) else {
            return Ok((atoms::error(), atoms::unknown_store()).encode(env));
        };
        let limits = match fitting(env, windows)? {
            Ok(limits) => limits,
            Err(answer) => return Ok(answer),
        };
        let options = SharedOptions {
            on_outage: decode_on_outage(on_outage)?,
            members: link.members(),
            cache_denials: link.caches_denials(),
            clock: Clock::Monotonic,
            remember: max_keys,
        };
        let limits: Vec<(Tag, &str, Limit)> = limits
            .iter()
            .map(|(tag, name, limit)| (*tag, name.as_str(), limit.clone()))
            .collect();
        let name = word::text(name).ok_or(Error::BadArg)?;
        let namespace = Namespace::new(link.prefix(), &name);
        Ok(
            match SharedLimiter::new(&limits, options, link.authority()) {
                Ok(limiter) => {
                    let handle = open(Remote {
                        limiter,
                        namespace,
                        events: decode_events(events)?,
                        link,
                    });
                    (atoms::ok(), handle.number(), Owner::new(handle)).encode(env)
                }
                Err(error) => refusal(env, None, &error),
            },
        )
    })
}

/// As `plan` of a local limiter.
#[rustler::nif]
fn remote_plan<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    on_remote(env, limiter, |remote| {
        let windows: Vec<Term> = remote
            .limiter
            .limits()
            .into_iter()
            .map(|(tag, limit, max)| planned(env, tag, &limit, max))
            .collect();
        Ok((remote.limiter.scale().ppm(), windows).encode(env))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn remote_update_limit<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    window: Atom,
    limit: u64,
    per_ns: u64,
    burst: Option<u64>,
) -> NifResult<Term<'a>> {
    on_remote(env, limiter, |remote| {
        let tag = word::of_atom(window);
        let windows = remote.limiter.limits();
        let Some((_, old, _)) = windows.iter().find(|(known, ..)| *known == tag) else {
            return Ok(atoms::unknown_window().to_term(env));
        };
        let new = match changed(old, limit, per_ns, burst) {
            Ok(new) => new,
            Err(error) => return Ok((atoms::error(), error.to_string()).encode(env)),
        };
        Ok(match remote.limiter.update_limit(tag, &new) {
            Ok(()) => atoms::ok().to_term(env),
            Err(SharedUpdateError::Call(error)) => encode::call_error(env, error),
            Err(error) => (atoms::error(), error.to_string()).encode(env),
        })
    })
}

#[rustler::nif]
fn remote_set_scale<'a>(env: Env<'a>, limiter: Term<'a>, ppm: u32) -> NifResult<Term<'a>> {
    on_remote(env, limiter, |remote| {
        remote.limiter.set_scale(Scale::from_ppm(ppm));
        Ok(atoms::ok().to_term(env))
    })
}

/// `{remembered, bytes, checks, denials, cached_denials, fallbacks, unavailable, pending, owing, away?}`
#[rustler::nif]
fn remote_stats<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Term<'a>> {
    on_remote(env, limiter, |remote| {
        let stats = remote.limiter.stats();
        let sizes = (stats.remembered, stats.bytes, stats.checks, stats.denials);
        let calls = (stats.cached_denials, stats.fallbacks, stats.unavailable);
        Ok((sizes, calls, (stats.pending, stats.owing, stats.away)).encode(env))
    })
}

/// One small step: about `max_slots` places are looked at.
#[rustler::nif]
fn remote_sweep<'a>(env: Env<'a>, limiter: Term<'a>, max_slots: usize) -> NifResult<Term<'a>> {
    on_remote(env, limiter, |remote| {
        Ok(remote.limiter.sweep(max_slots).encode(env))
    })
}

fn on_remote<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    call: impl FnOnce(&Remote) -> NifResult<Term<'a>>,
) -> NifResult<Term<'a>> {
    guard(|| match named(limiter) {
        Some(remote) => call(&remote),
        None => Ok(atoms::unknown_limiter().to_term(env)),
    })
}

/// The windows with their names; or the first that does not fit, as an answer.
type Fitting<'a> = Result<Vec<(Tag, String, Limit)>, Term<'a>>;

fn fitting<'a>(env: Env<'a>, windows: Term<'a>) -> NifResult<Fitting<'a>> {
    let limits = match decode_limits(windows)? {
        Ok(limits) => limits,
        Err((name, error)) => return Ok(Err(encode::limit_error(env, Some(name), &error))),
    };
    let mut named = Vec::with_capacity(limits.len());
    for (tag, limit) in limits {
        let window = word::to_atom(env, tag);
        let name = word::text(window).ok_or(Error::BadArg)?;
        if let Err(error) = Meter::new(&name, &limit) {
            return Ok(Err(refusal(env, Some(window), &error)));
        }
        named.push((tag, name, limit));
    }
    Ok(Ok(named))
}

/// `{:error, {window | nil, reason}}`
fn refusal<'a>(env: Env<'a>, window: Option<Term<'a>>, error: &impl ToString) -> Term<'a> {
    (atoms::error(), (window, error.to_string())).encode(env)
}

fn decode_on_outage(on_outage: Atom) -> NifResult<OnOutage> {
    if on_outage == atoms::share() {
        Ok(OnOutage::Share)
    } else if on_outage == atoms::allow() {
        Ok(OnOutage::Allow)
    } else if on_outage == atoms::deny() {
        Ok(OnOutage::Deny)
    } else {
        Err(Error::BadArg)
    }
}
