//! Requests in flight, and the process that waits for their answers.
//!
//! The call that sends them returns a ticket. With it the caller names a reference and waits for one message, or takes
//! the answers if they are there already. The reference is made after the call, in the function that receives, because
//! only then does the runtime skip the messages that are older: a caller with a long mailbox does not pay for it.

use std::mem;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rate_limiter_distributed::Response;
use rustler::{Encoder, Env, NifResult, Resource, ResourceArc, Term};

use crate::callers::Caller;
use crate::op::OpTerm;
use crate::refusal::{answer, Refusal};
use crate::reply::ReplyTo;
use crate::shared::Shared;
use crate::spin::spin;
use crate::{atoms, encode};

pub(crate) struct Ticket {
    shared: Arc<Shared>,
    op: OpTerm,
    /// Whether the answer is a list.
    is_batch: bool,
    /// The ids of the calls, in order, if the limiter counts who calls most.
    callers: Vec<Caller>,
    state: Mutex<State>,
}

enum State {
    InFlight {
        responses: Vec<Option<Response>>,
        missing: usize,
        caller: Option<ReplyTo>,
    },
    Answered,
    Cancelled,
}

#[rustler::resource_impl]
impl Resource for Ticket {}

/// Returns the answers if they are known, or `:waiting`: then the caller receives `{reference, answers}`, unless it
/// cancels before.
#[rustler::nif(name = "await")]
fn wait<'a>(env: Env<'a>, ticket: ResourceArc<Ticket>, reference: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, || {
        let waiting = ReplyTo::new(env, reference);
        let mut state = ticket.lock();
        if let Some(responses) = state.complete() {
            drop(state);
            return Ok(ticket.answers(env, &responses));
        }
        match &mut *state {
            State::InFlight { caller, .. } => *caller = Some(waiting),
            _ => return Err(Refusal::Misuse),
        }
        Ok(atoms::waiting().to_term(env))
    })
}

/// Stops waiting. `:cancelled` means that no message will be sent, `:answered` that it was sent or is about to be.
#[rustler::nif]
fn cancel(env: Env<'_>, ticket: ResourceArc<Ticket>) -> NifResult<Term<'_>> {
    answer(env, || {
        let mut state = ticket.lock();
        if let State::Answered = *state {
            return Ok(atoms::answered());
        }
        *state = State::Cancelled;
        Ok(atoms::cancelled())
    })
}

impl Ticket {
    pub(crate) fn one(
        shared: &Arc<Shared>,
        op: OpTerm,
        caller: Option<Caller>,
    ) -> ResourceArc<Self> {
        Self::new(shared, op, 1, caller.into_iter().collect(), false)
    }

    /// `callers` has all of them or none.
    pub(crate) fn batch(
        shared: &Arc<Shared>,
        op: OpTerm,
        len: usize,
        callers: Vec<Caller>,
    ) -> ResourceArc<Self> {
        Self::new(shared, op, len, callers, true)
    }

    fn new(
        shared: &Arc<Shared>,
        op: OpTerm,
        len: usize,
        callers: Vec<Caller>,
        is_batch: bool,
    ) -> ResourceArc<Self> {
        ResourceArc::new(Self {
            callers,
            shared: Arc::clone(shared),
            op,
            is_batch,
            state: Mutex::new(State::InFlight {
                responses: vec![None; len],
                missing: len,
                caller: None,
            }),
        })
    }

    /// The function that takes the response of the request at `at`.
    pub(crate) fn receiver(ticket: &ResourceArc<Self>, at: usize) -> impl FnOnce(Response) + Send {
        let ticket = ticket.clone();
        move |response| ticket.put(at, response)
    }

    /// Keeps a response. With the last one, sends all to the caller if it waits.
    pub(crate) fn put(&self, at: usize, response: Response) {
        let mut state = self.lock();
        let State::InFlight {
            responses,
            missing,
            caller,
        } = &mut *state
        else {
            return;
        };
        responses[at] = Some(response);
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        if let Some(caller) = caller.take() {
            let responses = state.complete().unwrap_or_default();
            drop(state);
            caller.send(|env| self.answers(env, &responses));
        }
    }

    /// The answers if all are known, else `{:sent, ticket, wait_ms}`.
    pub(crate) fn sent<'a>(ticket: &ResourceArc<Self>, env: Env<'a>) -> Term<'a> {
        let complete = ticket.lock().complete();
        match complete {
            Some(responses) => ticket.answers(env, &responses),
            None => (atoms::sent(), ticket, ticket.shared.store.wait_ms()).encode(env),
        }
    }

    /// The answer to the call at `at`, which is counted.
    pub(crate) fn answer<'a>(&self, env: Env<'a>, at: usize, response: &Response) -> Term<'a> {
        self.shared.limiter.count(response);
        if let Some(caller) = self.callers.get(at) {
            self.shared.callers.answered(caller, response);
        }
        encode::response(env, &self.shared, self.op, response)
    }

    fn answers<'a>(&self, env: Env<'a>, responses: &[Option<Response>]) -> Term<'a> {
        let answers = responses.iter().flatten().enumerate();
        let mut answers = answers.map(|(at, response)| self.answer(env, at, response));
        match (self.is_batch, answers.next()) {
            (false, Some(answer)) => answer,
            (_, first) => first
                .into_iter()
                .chain(answers)
                .collect::<Vec<_>>()
                .encode(env),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        spin(|| self.state.try_lock())
    }
}

impl State {
    /// Takes the responses out if none is missing.
    fn complete(&mut self) -> Option<Vec<Option<Response>>> {
        let Self::InFlight {
            responses,
            missing: 0,
            ..
        } = self
        else {
            return None;
        };
        let responses = mem::take(responses);
        *self = Self::Answered;
        Some(responses)
    }
}
