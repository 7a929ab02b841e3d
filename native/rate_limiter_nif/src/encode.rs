//! Answers as terms.

use rate_limiter_core::{Answer, Nanos, Receipt, Retry, Scale, Tag, Usage};
use rate_limiter_distributed::{Response, Source, Verdict};
use rustler::{Atom, Encoder, Env, NifTuple, Term};

use crate::local::Events;
use crate::op::OpTerm;
use crate::shared::Shared;
use crate::{atom_bits, atoms};

/// The answer of one window of a local limiter.
#[derive(NifTuple)]
#[rustler(encode)]
struct UsageTerm<'a> {
    verdict: Atom,
    events: Emits<'a>,
    max: u64,
    remaining: u64,
    next_ms: u64,
    reset_ms: u64,
    retry: Wait,
    scale_ppm: u32,
    /// The receipt.
    at: u64,
    serial: u64,
}

#[derive(NifTuple)]
#[rustler(encode)]
struct AnswerTerm<'a> {
    verdict: Atom,
    events: Term<'a>,
    source: Atom,
    scale_ppm: u32,
    /// The window that denied the call or, if it was admitted, the one with the least left.
    binding: Term<'a>,
    rows: Term<'a>,
    /// The receipt.
    at: u64,
    serial: u64,
}

#[derive(NifTuple)]
#[rustler(encode)]
struct RowTerm<'a> {
    window: Term<'a>,
    max: u64,
    remaining: u64,
    next_ms: u64,
    reset_ms: u64,
    retry: Wait,
}

/// What an answer emits: the events of its limiter, or `{:passed, events, windows}` if the id has passed the threshold
/// of windows.
#[derive(Clone, Copy)]
pub(crate) struct Emits<'p> {
    pub(crate) events: Events,
    pub(crate) passed: &'p [Tag],
}

/// Milliseconds, or `:infinity`. Of a window in shadow mode those for which it would deny the call.
struct Wait(Retry);

#[inline]
pub(crate) fn usage<'a>(
    env: Env<'a>,
    usage: &Usage,
    receipt: Receipt,
    events: Emits<'_>,
    scale: Scale,
) -> Term<'a> {
    UsageTerm {
        verdict: verdict(usage),
        events,
        max: usage.max,
        remaining: usage.remaining,
        next_ms: usage.next_after.as_millis_ceil(),
        reset_ms: usage.reset_after.as_millis_ceil(),
        retry: Wait(usage.retry),
        scale_ppm: scale.ppm(),
        at: receipt.at.0,
        serial: receipt.serial,
    }
    .encode(env)
}

/// The answer of a local limiter about several windows.
pub(crate) fn answer<'a>(
    env: Env<'a>,
    verdict: Atom,
    answer: &Answer,
    receipt: Receipt,
    events: Emits<'_>,
    scale: Scale,
) -> Term<'a> {
    let mut term = AnswerTerm::new(env, answer, verdict, events, atoms::local(), scale);
    (term.at, term.serial) = (receipt.at.0, receipt.serial);
    term.encode(env)
}

/// The answer of a shared limiter: `:ok` for a reset; else an [`AnswerTerm`], or `{verdict, events, source, scale_ppm}`
/// if the windows are unknown. The one answer with which an outage begins or ends is
/// `{:fallback, :started | :stopped, {instance, on_outage, nodes}, answer}`.
pub(crate) fn response<'a>(
    env: Env<'a>,
    shared: &Shared,
    op: OpTerm,
    response: &Response,
) -> Term<'a> {
    let verdict = match (response.verdict, op, &response.answer) {
        (Verdict::Unavailable, ..) => atoms::unavailable(),
        (Verdict::Denied, ..) => atoms::rate_limited(),
        (Verdict::Allowed, OpTerm::Take | OpTerm::Peek, Some(answer)) => verdict_of(answer),
        (Verdict::Allowed, ..) => atoms::ok(),
    };
    let source = match response.source {
        Source::Authority => shared.store.source,
        Source::Fallback => atoms::fallback(),
    };
    let scale = response.scale;
    let events = Emits {
        events: shared.events,
        passed: &response.passed,
    };
    let answer = match (op, &response.answer) {
        (OpTerm::Reset, _) if response.verdict != Verdict::Unavailable => atoms::ok().to_term(env),
        (_, None) => (verdict, shared.events, source, scale.ppm()).encode(env),
        (_, Some(answer)) => {
            let mut term = AnswerTerm::new(env, answer, verdict, events, source, scale);
            if let Some(receipt) = response.receipt {
                // In microseconds, as the authority counts: nanoseconds since 1970 are no small integers in Erlang.
                (term.at, term.serial) = (receipt.at.0 / 1_000, receipt.serial);
            }
            term.encode(env)
        }
    };
    let change = match response.switched_to {
        None => return answer,
        Some(Source::Fallback) => atoms::started(),
        Some(Source::Authority) => atoms::stopped(),
    };
    let store = &shared.store;
    let outage = (store.instance(env), shared.on_outage, store.members.nodes());
    (atoms::fallback(), change, outage, answer).encode(env)
}

impl<'a> AnswerTerm<'a> {
    fn new(
        env: Env<'a>,
        answer: &Answer,
        verdict: Atom,
        events: Emits<'_>,
        source: Atom,
        scale: Scale,
    ) -> Self {
        let none = Term::list_new_empty(env);
        let rows = answer
            .usages()
            .iter()
            .rev()
            .fold(none, |rows, (tag, usage)| {
                rows.list_prepend(RowTerm {
                    window: atom_bits::to_atom(env, *tag),
                    max: usage.max,
                    remaining: usage.remaining,
                    next_ms: usage.next_after.as_millis_ceil(),
                    reset_ms: usage.reset_after.as_millis_ceil(),
                    retry: Wait(usage.retry),
                })
            });
        Self {
            verdict,
            events: events.encode(env),
            source,
            scale_ppm: scale.ppm(),
            binding: atom_bits::to_atom(env, answer.binding().0),
            rows,
            at: 0,
            serial: 0,
        }
    }
}

impl Encoder for Emits<'_> {
    #[inline]
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        if self.passed.is_empty() {
            return self.events.encode(env);
        }
        let windows = self.passed.iter().map(|tag| atom_bits::to_atom(env, *tag));
        let windows: Vec<Term> = windows.collect();
        (atoms::passed(), self.events, windows).encode(env)
    }
}

impl From<Events> for Emits<'_> {
    fn from(events: Events) -> Self {
        Self {
            events,
            passed: &[],
        }
    }
}

impl Encoder for Wait {
    #[inline]
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self.0 {
            Retry::Now => 0_u64.encode(env),
            Retry::Unenforced(Nanos(u64::MAX)) | Retry::Never => atoms::infinity().to_term(env),
            Retry::Unenforced(span) | Retry::After(span) => span.as_millis_ceil().encode(env),
        }
    }
}

pub(crate) fn wait(env: Env<'_>, retry: Retry) -> Term<'_> {
    Wait(retry).encode(env)
}

/// The verdict of one window: `:would_deny` if it admits the call only because it is in shadow mode.
#[inline]
fn verdict(usage: &Usage) -> Atom {
    if usage.fits() {
        atoms::ok()
    } else if usage.allowed() {
        atoms::would_deny()
    } else {
        atoms::rate_limited()
    }
}

/// The verdict of several windows: `:would_deny` if they admit the call, but one only because it is in shadow mode.
pub(crate) fn verdict_of(answer: &Answer) -> Atom {
    let usages = answer.usages();
    let shadow = usages.iter().find(|(_, usage)| usage.would_deny());
    match shadow {
        Some((_, usage)) if answer.allowed() => verdict(usage),
        _ => verdict(&answer.binding().1),
    }
}
