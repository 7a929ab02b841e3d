//! Core's answers as terms.

use rate_limiter_core::{Answer, CallError, LimitError, Nanos, Retry, Tag, Usage};
use rustler::types::tuple::make_tuple;
use rustler::{Atom, Encoder, Env, Term};

use crate::registry::Events;
use crate::{atoms, word};

/// `{verdict, events, max, remaining, reset_ms, retry_ms, scale_ppm}`
#[inline]
pub(crate) fn usage<'a>(env: Env<'a>, usage: &Usage, events: Events, scale_ppm: u32) -> Term<'a> {
    make_tuple(
        env,
        &[
            verdict(usage.allowed()).to_term(env),
            self::events(events).to_term(env),
            usage.max.encode(env),
            usage.remaining.encode(env),
            millis(env, usage.reset_after),
            retry(env, usage.retry),
            scale_ppm.encode(env),
        ],
    )
}

/// `{verdict, events, scale_ppm, binding_window, [{window, max, remaining, reset_ms, retry_ms}]}`
pub(crate) fn answer<'a>(
    env: Env<'a>,
    answer: &Answer,
    events: Events,
    scale_ppm: u32,
) -> Term<'a> {
    make_tuple(
        env,
        &[
            verdict(answer.allowed()).to_term(env),
            self::events(events).to_term(env),
            scale_ppm.encode(env),
            word::to_atom(env, answer.binding().0),
            rows(env, answer),
        ],
    )
}

/// `[{window, max, remaining, reset_ms, retry_ms}]`
pub(crate) fn rows<'a>(env: Env<'a>, answer: &Answer) -> Term<'a> {
    let row = |(tag, usage): &(Tag, Usage)| {
        make_tuple(
            env,
            &[
                word::to_atom(env, *tag),
                usage.max.encode(env),
                usage.remaining.encode(env),
                millis(env, usage.reset_after),
                retry(env, usage.retry),
            ],
        )
    };
    let rows: Vec<Term> = answer.usages().iter().map(row).collect();
    rows.encode(env)
}

/// The atom for a call that names something that is not there.
#[cold]
pub(crate) fn call_error(env: Env<'_>, error: CallError) -> Term<'_> {
    let atom = match error {
        CallError::UnknownWindow => atoms::unknown_window(),
        _ => atoms::unknown_limiter(),
    };
    atom.to_term(env)
}

/// `{:error, {window | nil, reason}}`
pub(crate) fn limit_error<'a>(env: Env<'a>, window: Option<Atom>, error: &LimitError) -> Term<'a> {
    let reason = (window.unwrap_or_else(atoms::nil), error.to_string());
    (atoms::error(), reason).encode(env)
}

fn verdict(allowed: bool) -> Atom {
    if allowed {
        atoms::ok()
    } else {
        atoms::rate_limited()
    }
}

pub(crate) fn events(events: Events) -> Atom {
    match events {
        Events::All => atoms::all(),
        Events::Denials => atoms::denials(),
        Events::None => atoms::none(),
    }
}

fn millis(env: Env<'_>, span: Nanos) -> Term<'_> {
    span.as_millis_ceil().encode(env)
}

fn retry(env: Env<'_>, retry: Retry) -> Term<'_> {
    match retry {
        Retry::Now => 0_u64.encode(env),
        Retry::After(span) => millis(env, span),
        Retry::Never => atoms::infinity().to_term(env),
    }
}
