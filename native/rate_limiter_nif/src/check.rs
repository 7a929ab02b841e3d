//! The calls about an id.

use rate_limiter_core::{Answer, CallError, Epoch, Key, Limiter, Nanos, Once, Select, Tag, Usage};
use rustler::{Binary, Encoder, Env, Error, NifResult, Term};

use crate::guard::guard;
use crate::registry::{Handle, Meaning, Place};
use crate::{atoms, encode, id, list, registry, word};

/// A core function that judges one window.
type AskOne = fn(&Limiter, Epoch, Key, Tag, u64) -> Result<Usage, CallError>;

/// A limiter that a call named, found.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) place: &'static Place,
    pub(crate) epoch: Epoch,
}

#[rustler::nif]
fn check<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    guard(|| ask_one(env, limiter, id, window, cost, Limiter::check))
}

#[rustler::nif]
fn peek<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    guard(|| ask_one(env, limiter, id, window, cost, Limiter::peek))
}

#[rustler::nif]
fn check_windows<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    guard(|| ask_all(env, limiter, id, windows, cost, Limiter::check_all))
}

/// As `check_windows`; a call of this name that was admitted before is admitted again and takes nothing.
#[rustler::nif]
fn check_once<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
    cost: i64,
    (request, keep_ns): (Binary<'a>, u64),
) -> NifResult<Term<'a>> {
    guard(|| {
        let once = Once {
            id: id::request(&request),
            keep: Nanos(keep_ns),
        };
        ask_all(
            env,
            limiter,
            id,
            windows,
            cost,
            |limiter, epoch, key, select, cost| limiter.check_once(epoch, key, select, cost, once),
        )
    })
}

#[rustler::nif]
fn peek_windows<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    guard(|| ask_all(env, limiter, id, windows, cost, Limiter::peek_all))
}

#[rustler::nif]
fn refund<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    guard(|| ask_all(env, limiter, id, windows, cost, Limiter::refund))
}

#[rustler::nif]
fn reset<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
) -> NifResult<Term<'a>> {
    guard(|| {
        let target = match find(env, limiter)? {
            Ok(target) => target,
            Err(answer) => return Ok(answer),
        };
        let Some(key) = id::key(id) else {
            return Ok(atoms::bad_id().to_term(env));
        };
        let done = with_select(windows, |select| {
            target.place.limiter.reset(target.epoch, key, select)
        })?;
        Ok(match done {
            Ok(()) => atoms::ok().to_term(env),
            Err(error) => encode::call_error(env, error),
        })
    })
}

/// At most as many entries as a scheduler may be kept for: see `RateLimiter.Engine`.
#[rustler::nif]
fn check_batch<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    entries: Term<'a>,
    window: Term<'a>,
    intent: Term<'a>,
) -> NifResult<Term<'a>> {
    guard(|| ask_batch(env, limiter, &list::decode(entries)?, window, intent))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn check_batch_dirty<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    entries: Term<'a>,
    window: Term<'a>,
    intent: Term<'a>,
) -> NifResult<Term<'a>> {
    guard(|| ask_batch(env, limiter, &list::decode(entries)?, window, intent))
}

#[inline]
fn ask_one<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
    ask: AskOne,
) -> NifResult<Term<'a>> {
    let target = match find(env, limiter)? {
        Ok(target) => target,
        Err(answer) => return Ok(answer),
    };
    let Some(key) = id::key(id) else {
        return Ok(atoms::bad_id().to_term(env));
    };
    one(env, target, key, window, cost, ask)
}

#[inline]
fn one<'a>(
    env: Env<'a>,
    Target { place, epoch }: Target,
    key: Key,
    window: Term<'a>,
    cost: i64,
    ask: AskOne,
) -> NifResult<Term<'a>> {
    // An unknown word finds no window, whatever kind of term it is: only then is it looked at more closely.
    match ask(&place.limiter, epoch, key, word::of(window), units(cost)) {
        Ok(usage) => {
            let scale = place.limiter.scale().ppm();
            Ok(encode::usage(env, &usage, place.events(), scale))
        }
        Err(CallError::UnknownWindow) if !window.is_atom() => Err(Error::BadArg),
        Err(error) => Ok(encode::call_error(env, error)),
    }
}

fn ask_all<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
    cost: i64,
    ask: impl FnOnce(&Limiter, Epoch, Key, Select, u64) -> Result<Answer, CallError>,
) -> NifResult<Term<'a>> {
    let Target { place, epoch } = match find(env, limiter)? {
        Ok(target) => target,
        Err(answer) => return Ok(answer),
    };
    let Some(key) = id::key(id) else {
        return Ok(atoms::bad_id().to_term(env));
    };
    let answer = with_select(windows, |select| {
        ask(&place.limiter, epoch, key, select, units(cost))
    })?;
    Ok(match answer {
        Ok(answer) => {
            let scale = place.limiter.scale().ppm();
            encode::answer(env, &answer, place.events(), scale)
        }
        Err(error) => encode::call_error(env, error),
    })
}

fn ask_batch<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    entries: &[(Term<'a>, i64)],
    window: Term<'a>,
    intent: Term<'a>,
) -> NifResult<Term<'a>> {
    let ask: AskOne = if atoms::take() == intent {
        Limiter::check
    } else if atoms::peek() == intent {
        Limiter::peek
    } else {
        return Err(Error::BadArg);
    };
    let target = match find(env, limiter)? {
        Ok(target) => target,
        Err(answer) => return Ok(answer),
    };
    let limits = target.place.limiter.limits(target.epoch);
    match limits {
        Ok(limits) if limits.iter().any(|(tag, ..)| *tag == word::of(window)) => (),
        Ok(_) if !window.is_atom() => return Err(Error::BadArg),
        Ok(_) => return Ok(atoms::unknown_window().to_term(env)),
        Err(error) => return Ok(encode::call_error(env, error)),
    }
    // All ids first: a wrong one raises in Elixir, and then nothing must have been taken.
    let keys: Option<Vec<Key>> = entries.iter().map(|(id, _)| id::key(*id)).collect();
    let Some(keys) = keys else {
        return Ok(atoms::bad_id().to_term(env));
    };
    let asked = keys.into_iter().zip(entries);
    let answers = asked.map(|(key, (_, cost))| one(env, target, key, window, *cost, ask));
    Ok(answers.collect::<NifResult<Vec<Term>>>()?.encode(env))
}

/// The limiter that a name or a handle means; the answer to give instead where it means none.
#[inline]
pub(crate) fn find<'a>(env: Env<'a>, limiter: Term<'a>) -> NifResult<Result<Target, Term<'a>>> {
    // Words of other terms than atoms are never names, so what is found needs no look at its kind.
    let handle = match registry::meaning(word::of(limiter)) {
        Meaning::Limiter(handle) => handle,
        Meaning::TestOwned => return Ok(Err(atoms::test_owned().to_term(env))),
        Meaning::Remote => return Ok(Err(atoms::remote().to_term(env))),
        Meaning::Nothing if limiter.is_atom() => {
            return Ok(Err(atoms::unknown_limiter().to_term(env)))
        }
        Meaning::Nothing => Handle::from_number(limiter.decode()?),
    };
    Ok(match handle.place() {
        Some(place) => Ok(Target {
            place,
            epoch: handle.epoch(),
        }),
        None if handle.is_remote() => Err(atoms::remote().to_term(env)),
        None => Err(atoms::unknown_limiter().to_term(env)),
    })
}

/// Decodes `:all` or a non-empty list of windows.
pub(crate) fn with_select<T>(windows: Term, call: impl FnOnce(Select) -> T) -> NifResult<T> {
    if atoms::all() == windows {
        return Ok(call(Select::All));
    }
    let windows: Vec<Term> = list::decode(windows)?;
    if windows.is_empty() || !windows.iter().all(|window| window.is_atom()) {
        return Err(Error::BadArg);
    }
    let tags: Vec<Tag> = windows.into_iter().map(word::of).collect();
    Ok(call(Select::Tags(&tags)))
}

/// A negative cost stands for one that can never be paid.
#[inline]
pub(crate) fn units(cost: i64) -> u64 {
    u64::try_from(cost).unwrap_or(u64::MAX)
}
