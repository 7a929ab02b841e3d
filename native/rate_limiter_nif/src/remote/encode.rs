//! Outcomes as terms.

use rate_limiter_distributed::{Op, Response, Source, Verdict};
use rustler::{Atom, Encoder, Env, Term};

use crate::registry::Events;
use crate::{atoms, encode, word};

/// `:ok` for a reset; else `{verdict, events, source, scale_ppm, binding_window, rows}`, or where the windows say nothing
/// `{verdict, events, source, scale_ppm}`. With a turn, `{turn, that}`.
pub(super) fn outcome<'a>(env: Env<'a>, events: Events, op: Op, outcome: &Response) -> Term<'a> {
    let said = match op {
        Op::Reset if outcome.verdict != Verdict::Unavailable => atoms::ok().to_term(env),
        _ => answer(env, events, outcome),
    };
    match outcome.switched_to {
        None => said,
        Some(Source::Fallback) => (atoms::away(), said).encode(env),
        Some(Source::Authority) => (atoms::back(), said).encode(env),
    }
}

fn answer<'a>(env: Env<'a>, events: Events, outcome: &Response) -> Term<'a> {
    let head = (
        verdict(outcome.verdict),
        encode::events(events),
        source(outcome.source),
        outcome.scale.ppm(),
    );
    match &outcome.answer {
        None => head.encode(env),
        Some(answer) => {
            let (verdict, events, source, scale_ppm) = head;
            let binding = word::to_atom(env, answer.binding().0);
            let rows = encode::rows(env, answer);
            (verdict, events, source, scale_ppm, binding, rows).encode(env)
        }
    }
}

fn verdict(verdict: Verdict) -> Atom {
    match verdict {
        Verdict::Allowed => atoms::ok(),
        Verdict::Denied => atoms::rate_limited(),
        Verdict::Unavailable => atoms::unavailable(),
    }
}

fn source(source: Source) -> Atom {
    match source {
        Source::Authority => atoms::redis(),
        Source::Fallback => atoms::fallback(),
    }
}
