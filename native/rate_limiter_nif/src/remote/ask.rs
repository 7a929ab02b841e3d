//! The calls about an id that Redis decides.
//!
//! Each takes a reference. What is known at once is the answer; else it is `{:sent, ticket, wait_ms}`, and
//! `{reference, answer}` is sent to the caller, unless it has given the ticket back before.

use std::sync::Arc;

use parking_lot::Mutex;
use rate_limiter_core::{Nanos, Select};
use rate_limiter_distributed::{Op, Request, RequestId, Response};
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, ResourceArc, Term};

use super::ticket::Ticket;
use super::{encode, named, Remote};
use crate::check::{units, with_select};
use crate::guard::guard;
use crate::registry::Events;
use crate::reply::ReplyTo;
use crate::spin::spin;
use crate::{atoms, id, list};

/// `{op, cost, {request, keep_ns} | nil}`
type WhatTerm<'a> = (Atom, i64, Option<(Binary<'a>, u64)>);

/// Whoever asks, and may stop waiting.
struct Caller {
    reply_to: ReplyTo,
    ticket: ResourceArc<Ticket>,
}

/// The outcomes of a batch, until the last of them is there.
struct Gathering {
    caller: Caller,
    outcomes: Vec<Option<Response>>,
    missing: usize,
}

#[rustler::nif]
fn remote_ask<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    reference: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
    what: WhatTerm<'a>,
) -> NifResult<Term<'a>> {
    with_ask(env, limiter, id, windows, what, |remote, ask, op| {
        let caller = Caller::new(env, reference);
        let ticket = caller.ticket.clone();
        let events = remote.events;
        let done = move |outcome: Response| {
            caller.tell(|env| encode::outcome(env, events, op, &outcome));
        };
        match remote.limiter.submit(ask, done) {
            Ok(None) => sent(env, remote, ticket),
            Ok(Some(outcome)) => encode::outcome(env, events, op, &outcome),
            Err(error) => crate::encode::call_error(env, error),
        }
    })
}

/// What this node answers alone, for a caller that waits no longer.
#[rustler::nif]
fn remote_alone<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
    what: WhatTerm<'a>,
) -> NifResult<Term<'a>> {
    with_ask(
        env,
        limiter,
        id,
        windows,
        what,
        |remote, ask, op| match remote.limiter.decide_locally(ask) {
            Ok(outcome) => encode::outcome(env, remote.events, op, &outcome),
            Err(error) => crate::encode::call_error(env, error),
        },
    )
}

fn with_ask<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Term<'a>,
    (op, cost, request): WhatTerm<'a>,
    answer: impl FnOnce(&Remote, Request<'_>, Op) -> Term<'a>,
) -> NifResult<Term<'a>> {
    guard(|| {
        let op = decode_op(op)?;
        let Some(remote) = named(limiter) else {
            return Ok(atoms::unknown_limiter().to_term(env));
        };
        let request = request.map(decode_request);
        with_select(windows, |select| {
            match ask(&remote, id, select, op, cost, request) {
                Some(ask) => answer(&remote, ask, op),
                None => atoms::bad_id().to_term(env),
            }
        })
    })
}

/// Each entry by itself, all in one round trip.
#[rustler::nif]
fn remote_ask_batch<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    reference: Term<'a>,
    entries: Term<'a>,
    windows: Term<'a>,
    op: Atom,
) -> NifResult<Term<'a>> {
    guard(|| ask_batch(env, limiter, reference, entries, windows, op))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn remote_ask_batch_dirty<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    reference: Term<'a>,
    entries: Term<'a>,
    windows: Term<'a>,
    op: Atom,
) -> NifResult<Term<'a>> {
    guard(|| ask_batch(env, limiter, reference, entries, windows, op))
}

fn ask_batch<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    reference: Term<'a>,
    entries: Term<'a>,
    windows: Term<'a>,
    op: Atom,
) -> NifResult<Term<'a>> {
    let op = decode_op(op)?;
    let Some(remote) = named(limiter) else {
        return Ok(atoms::unknown_limiter().to_term(env));
    };
    let entries: Vec<(Term, i64)> = list::decode(entries)?;
    with_select(windows, |select| {
        let asks = entries
            .iter()
            .map(|&(id, cost)| ask(&remote, id, select, op, cost, None))
            .collect::<Option<Vec<_>>>();
        match asks {
            Some(asks) => batch(env, &remote, Caller::new(env, reference), asks, op),
            None => atoms::bad_id().to_term(env),
        }
    })
}

fn batch<'a>(
    env: Env<'a>,
    remote: &Arc<Remote>,
    caller: Caller,
    asks: Vec<Request>,
    op: Op,
) -> Term<'a> {
    let events = remote.events;
    let ticket = caller.ticket.clone();
    // One more is missing until all that was known at once is in.
    let gathering = Arc::new(Mutex::new(Some(Gathering {
        caller,
        outcomes: vec![None; asks.len()],
        missing: asks.len() + 1,
    })));
    let asks = asks.into_iter().enumerate().map(|(at, ask)| {
        let gathering = Arc::clone(&gathering);
        let done = move |outcome| {
            if let Some(complete) = put(&gathering, at, outcome) {
                complete.tell(events, op);
            }
        };
        (ask, done)
    });
    let known = match remote.limiter.submit_batch(asks.collect()) {
        Ok(known) => known,
        Err(error) => return crate::encode::call_error(env, error),
    };
    for (at, outcome) in known.into_iter().enumerate() {
        if let Some(outcome) = outcome {
            // Never the last one: there is one more.
            let _incomplete = put(&gathering, at, outcome);
        }
    }
    match arrive(&gathering) {
        // All were known, or came meanwhile: nothing is sent.
        Some(complete) => complete.answers(env, events, op),
        None => sent(env, remote, ticket),
    }
}

/// Puts an outcome in its place. The last one takes all out.
fn put(gathering: &Mutex<Option<Gathering>>, at: usize, outcome: Response) -> Option<Gathering> {
    let mut present = spin(|| gathering.try_lock());
    present.as_mut()?.outcomes[at] = Some(outcome);
    one_less(&mut present)
}

fn arrive(gathering: &Mutex<Option<Gathering>>) -> Option<Gathering> {
    one_less(&mut spin(|| gathering.try_lock()))
}

fn one_less(present: &mut Option<Gathering>) -> Option<Gathering> {
    let gathering = present.as_mut()?;
    gathering.missing -= 1;
    if gathering.missing == 0 {
        present.take()
    } else {
        None
    }
}

impl Gathering {
    fn tell(self, events: Events, op: Op) {
        let outcomes = self.outcomes;
        self.caller.tell(|env| all(env, &outcomes, events, op));
    }

    fn answers<'a>(&self, env: Env<'a>, events: Events, op: Op) -> Term<'a> {
        all(env, &self.outcomes, events, op)
    }
}

fn all<'a>(env: Env<'a>, outcomes: &[Option<Response>], events: Events, op: Op) -> Term<'a> {
    let answers = outcomes.iter().flatten();
    let answers: Vec<Term> = answers
        .map(|outcome| encode::outcome(env, events, op, outcome))
        .collect();
    answers.encode(env)
}

impl Caller {
    fn new(env: Env, reference: Term) -> Self {
        Self {
            reply_to: ReplyTo::new(env, reference),
            ticket: Ticket::new(),
        }
    }

    /// Sends `{reference, answer}`, if the caller still waits.
    fn tell(self, answer: impl for<'e> FnOnce(Env<'e>) -> Term<'e>) {
        if self.ticket.tell() {
            self.reply_to.send(answer);
        }
    }
}

fn sent<'a>(env: Env<'a>, remote: &Remote, ticket: ResourceArc<Ticket>) -> Term<'a> {
    (atoms::sent(), ticket, remote.link.wait_ms()).encode(env)
}

fn ask<'a>(
    remote: &Remote,
    id: Term,
    select: Select<'a>,
    op: Op,
    cost: i64,
    request: Option<RequestId>,
) -> Option<Request<'a>> {
    let (kind, portable) = id::portable(id)?;
    Some(Request {
        key: id::key(id)?,
        name: remote.namespace.key(kind, &portable),
        select,
        op,
        cost: units(cost),
        request_id: request,
    })
}

fn decode_op(op: Atom) -> NifResult<Op> {
    if op == atoms::take() {
        Ok(Op::Take)
    } else if op == atoms::peek() {
        Ok(Op::Peek)
    } else if op == atoms::refund() {
        Ok(Op::Refund)
    } else if op == atoms::reset() {
        Ok(Op::Reset)
    } else {
        Err(Error::BadArg)
    }
}

fn decode_request((id, keep_ns): (Binary, u64)) -> RequestId {
    RequestId {
        id: id.as_slice().into(),
        keep: Nanos(keep_ns),
    }
}
