//! The calls about an id. A local limiter decides them here. A shared limiter answers what it knows at once, and sends
//! the rest to its authority: then the answer is `{:sent, ticket, wait_ms}`, and the caller waits with the ticket.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use rate_limiter_core::{
    Answer, CallError, Key, Nanos, Once, Receipt, Scale, Select, Tag, Under, Usage,
};
use rate_limiter_distributed as distributed;
use rate_limiter_distributed::{Op, RequestId};
use rustler::{Atom, Binary, Decoder, Encoder, Env, NifResult, NifTuple, Term};

use crate::callers::Caller;
use crate::decode::{Arg, Windows};
use crate::encode::Emits;
use crate::id::NoKey;
use crate::local::{Events, Local};
use crate::op::OpTerm;
use crate::plan::Plan;
use crate::refusal::{answer, Refusal};
use crate::registry::{self, Limiter};
use crate::shared::Shared;
use crate::ticket::Ticket;
use crate::{atom_bits, atoms, encode, id};

/// `{op, cost, about | nil, plan}`
#[derive(NifTuple)]
#[rustler(decode)]
struct Request<'a> {
    op: OpTerm,
    cost: i64,
    about: Option<About<'a>>,
    plan: Plan,
}

/// What a request names.
enum About<'a> {
    /// `{request_id, keep_ns}`: this call.
    Id(Binary<'a>, u64),
    /// `{at, serial, charged, request_id | nil}`: the call that is given back.
    Receipt(Receipt, u64, Option<Binary<'a>>),
}

impl<'a> Decoder<'a> for About<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if let Ok((id, keep_ns)) = term.decode() {
            return Ok(Self::Id(id, keep_ns));
        }
        let (at, serial, charged, id): (u64, u64, i64, Option<Binary>) = term.decode()?;
        let at = Nanos(at);
        Ok(Self::Receipt(Receipt { at, serial }, units(charged), id))
    }
}

/// The most decisions of a local batch on a normal scheduler: some ten microseconds. One for each entry and window.
const MAX_LOCAL_DECISIONS: usize = 128;

/// The most entries of a shared batch on a normal scheduler. They leave together, so fewer would cost more round trips.
const MAX_SHARED_ENTRIES: usize = 256;

/// How long another node may go on to charge calls to the ids of before a reset, with a margin.
const RESET_LAG_US: u64 = 2_000_000;

/// The hundredths of a scheduler's time slice that a full batch takes: an entry that is sent costs twice a decision here.
const FULL_LOCAL_PERCENT: usize = 5;
const FULL_SHARED_PERCENT: usize = 20;

/// Takes `cost` from one window. This is the hot path of a local limiter.
#[rustler::nif]
fn check<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    take::<false>(env, limiter, id, window, cost)
}

/// As `check`, but `true` for an admitted call that emits no event, of a limiter without a threshold.
#[rustler::nif]
fn allow<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    take::<true>(env, limiter, id, window, cost)
}

#[inline]
fn take<'a, const BRIEF: bool>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    answer(env, || match registry::find(limiter)? {
        Limiter::Local(local) => local.check::<BRIEF>(env, id, window, cost, Under::Own),
        Limiter::Shared(shared) => check_shared(env, &shared, id, window, cost, Plan::Own),
    })
}

/// As `check`, under a plan.
#[rustler::nif]
fn check_under<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
    plan: Plan,
) -> NifResult<Term<'a>> {
    answer(env, || match registry::find(limiter)? {
        Limiter::Local(local) => plan.run(local, |under| {
            local.check::<false>(env, id, window, cost, under)
        }),
        Limiter::Shared(shared) => check_shared(env, &shared, id, window, cost, plan),
    })
}

/// One call about one id, over one window or several.
#[rustler::nif]
fn request<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Windows,
    Arg(call): Arg<Request<'a>>,
) -> NifResult<Term<'a>> {
    answer(env, || match registry::find(limiter)? {
        Limiter::Local(local) => local.request(env, id, windows.select(), &call),
        Limiter::Shared(shared) => shared.request(env, id, windows.select(), &call),
    })
}

/// The answer that this node gives without the authority, for a caller that no longer waits.
#[rustler::nif]
fn request_alone<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    windows: Windows,
    Arg(call): Arg<Request<'a>>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let shared = registry::find_shared(limiter)?;
        let (key, request) = shared.read(id, windows.select(), &call)?;
        let caller = shared.caller(call.op, key, id);
        let response = shared.limiter.decide_locally(request)?;
        shared.limiter.count(&response);
        if let Some(caller) = caller {
            shared.callers.answered(&caller, &response);
        }
        Ok(encode::response(env, &shared, call.op, &response))
    })
}

/// Each entry by itself, in order, as many as a normal scheduler decides in some ten microseconds: `{answers, rest}` or
/// `{{:sent, ticket, wait_ms}, rest}`. `:large_id` is about the first entry.
#[rustler::nif]
fn request_batch<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    entries: Term<'a>,
    windows: Windows,
    Arg(op): Arg<OpTerm>,
    plan: Plan,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let limiter = registry::find(limiter)?;
        let windows_each = limiter.windows(windows.select())?;
        let (most, percent) = match &limiter {
            Limiter::Local(_) => (
                (MAX_LOCAL_DECISIONS / windows_each).max(1),
                FULL_LOCAL_PERCENT,
            ),
            Limiter::Shared(_) => (MAX_SHARED_ENTRIES, FULL_SHARED_PERCENT),
        };
        let batch = Batch::read(entries, most)?;
        let decided = match limiter {
            Limiter::Local(local) => plan.run(local, |under| {
                local.batch(env, &batch.entries, windows.select(), (op, under))
            })?,
            Limiter::Shared(shared) => {
                shared.batch(env, &batch.entries, windows.select(), (op, &plan))?
            }
        };
        charge(env, batch.entries.len() * percent / most);
        Ok((decided, batch.rest))
    })
}

/// The first entries of a list.
struct Batch<'a> {
    entries: Vec<(Key, Term<'a>, i64)>,
    rest: Term<'a>,
}

impl<'a> Batch<'a> {
    /// Reads at most `most` entries, and fewer if their ids are large.
    fn read(entries: Term<'a>, most: usize) -> Result<Self, Refusal> {
        let mut batch = Self {
            entries: Vec::new(),
            rest: entries,
        };
        let mut weight = 0;
        while batch.entries.len() < most && weight < id::MAX_WEIGHT && !batch.rest.is_empty_list() {
            let (entry, rest) = batch.rest.list_get_cell()?;
            let (id, cost): (Term, i64) = entry.decode()?;
            match id::weighed(id) {
                Ok((key, bytes)) => {
                    batch.entries.push((key, id, cost));
                    weight += bytes;
                }
                // The next call is about the rest, and begins with this id.
                Err(NoKey::Large) if !batch.entries.is_empty() => break,
                Err(reason) => return Err(reason.into()),
            }
            batch.rest = rest;
        }
        Ok(batch)
    }
}

/// Charges the process for so many hundredths of a time slice: without it, a long list would keep its scheduler.
fn charge(env: Env, percent: usize) {
    // The runtime itself reads whether the slice is spent, when this function returns.
    let _spent =
        rustler::schedule::consume_timeslice(env, percent.clamp(1, 100).try_into().unwrap_or(100));
}

impl Local {
    /// If it is brief, the answer to an admitted call without an event is `true`.
    #[inline]
    fn check<'a, const BRIEF: bool>(
        self,
        env: Env<'a>,
        id: Term<'a>,
        window: Term<'a>,
        cost: i64,
        under: Under,
    ) -> Result<Term<'a>, Refusal> {
        let Self { place, epoch } = self;
        let (key, tag, cost) = (id::key(id)?, atom_bits::of(window), units(cost));
        // The bits of another term than an atom are never a window: only then does its kind matter.
        let (usage, receipt) = match place.limiter.under(epoch, under).charge(key, tag, cost) {
            Err(_) if !window.is_atom() => return Err(Refusal::Misuse),
            charged => charged?,
        };
        if place.is_watched() {
            return Ok(self.taken(env, id, (key, tag, cost), under, (&usage, receipt)));
        }
        if BRIEF && usage.fits() && !matches!(place.events(), Events::All) {
            return Ok(true.encode(env));
        }
        Ok(self.usage(env, &usage, receipt))
    }

    /// The answer of one window.
    #[inline]
    pub(crate) fn usage<'a>(self, env: Env<'a>, usage: &Usage, receipt: Receipt) -> Term<'a> {
        let place = self.place;
        let (events, scale) = (place.events().into(), place.limiter.scale());
        encode::usage(env, usage, receipt, events, scale)
    }

    /// The answer of one window to a call that takes, of a limiter that is watched.
    #[cold]
    fn taken<'a>(
        self,
        env: Env<'a>,
        id: Term<'a>,
        (key, tag, cost): (Key, Tag, u64),
        under: Under,
        (usage, receipt): (&Usage, Receipt),
    ) -> Term<'a> {
        let Self { place, epoch } = self;
        let usages = &[(tag, *usage)];
        place.callers.count(epoch, key, id, usages);
        let passed = place
            .threshold()
            .map(|share| self.passed(key, usages, cost, under, share));
        let emits = Emits {
            events: place.events(),
            passed: &passed.unwrap_or_default(),
        };
        encode::usage(env, usage, receipt, emits, place.limiter.scale())
    }

    /// The windows of which the key passes the threshold with this answer.
    fn passed(
        self,
        key: Key,
        usages: &[(Tag, Usage)],
        cost: u64,
        under: Under,
        share: Scale,
    ) -> Vec<Tag> {
        let planned = self.place.limiter.under(self.epoch, under);
        let passes = |(tag, usage): &(Tag, Usage)| {
            let answer = (*tag, usage);
            planned.passes(key, answer, cost, share).then_some(*tag)
        };
        usages.iter().filter_map(passes).collect()
    }

    fn request<'a>(
        self,
        env: Env<'a>,
        id: Term<'a>,
        select: Select,
        request: &Request,
    ) -> Result<Term<'a>, Refusal> {
        let key = id::key(id)?;
        let (op, cost) = (request.op, request.cost);
        request.plan.run(self, |under| match request.about {
            Some(About::Id(name, keep_ns)) => {
                let once = Once {
                    id: id::request(&name),
                    keep: Nanos(keep_ns),
                };
                self.decide(env, (key, id), select, (op, under), cost, Some(once))
            }
            Some(About::Receipt(receipt, charged, _)) => {
                let amounts = (charged, units(cost));
                self.give_back(env, (key, select), under, receipt, amounts)
            }
            None => self.decide(env, (key, id), select, (op, under), cost, None),
        })
    }

    /// Gives back some units of the units that a call was charged.
    fn give_back<'a>(
        self,
        env: Env<'a>,
        (key, select): (Key, Select),
        under: Under,
        receipt: Receipt,
        (charged, cost): (u64, u64),
    ) -> Result<Term<'a>, Refusal> {
        let planned = self.place.limiter.under(self.epoch, under);
        match planned.give_back(key, select, receipt, charged, cost) {
            Err(CallError::NoRoom) => self.no_room(env, key, select, under),
            // The plan of the call was removed: nothing of it counts as it did.
            Err(CallError::UnknownPlan) => {
                let now = self.place.limiter.peek_all(self.epoch, key, select, 0)?;
                Ok(self.answer(env, atoms::ok(), &now, Receipt::default(), &[]))
            }
            answer => Ok(self.answer(env, atoms::ok(), &answer?, Receipt::default(), &[])),
        }
    }

    fn batch<'a>(
        self,
        env: Env<'a>,
        entries: &[(Key, Term<'a>, i64)],
        select: Select,
        how: (OpTerm, Under),
    ) -> Result<Term<'a>, Refusal> {
        let answers = entries
            .iter()
            .map(|&(key, id, cost)| self.decide(env, (key, id), select, how, cost, None));
        Ok(answers.collect::<Result<Vec<Term>, _>>()?.encode(env))
    }

    fn decide<'a>(
        self,
        env: Env<'a>,
        (key, id): (Key, Term<'a>),
        select: Select,
        (op, under): (OpTerm, Under),
        cost: i64,
        once: Option<Once>,
    ) -> Result<Term<'a>, Refusal> {
        let Self { place, epoch } = self;
        let (planned, cost) = (place.limiter.under(epoch, under), units(cost));
        let nothing = Receipt::default();
        let (answer, receipt) = match (op, once, select) {
            // A call about one window allocates nothing.
            (OpTerm::Take, None, Select::Tags(&[tag])) => {
                let (usage, receipt) = planned.charge(key, tag, cost)?;
                return Ok(if place.is_watched() {
                    self.taken(env, id, (key, tag, cost), under, (&usage, receipt))
                } else {
                    self.usage(env, &usage, receipt)
                });
            }
            (OpTerm::Peek, _, Select::Tags(&[tag])) => {
                let usage = planned.peek(key, tag, cost)?;
                return Ok(self.usage(env, &usage, nothing));
            }
            (OpTerm::Take, None, _) => planned.charge_all(key, select, cost)?,
            (OpTerm::Take, Some(once), _) => planned.check_once(key, select, cost, once)?,
            (OpTerm::Peek, ..) => (planned.peek_all(key, select, cost)?, nothing),
            (OpTerm::Refund, ..) => match planned.refund(key, select, cost) {
                Err(CallError::NoRoom) => return self.no_room(env, key, select, under),
                refunded => (refunded?, nothing),
            },
            (OpTerm::Reset, ..) => {
                return match place.limiter.reset(epoch, key, select) {
                    Err(CallError::NoRoom) => self.no_room(env, key, select, under),
                    reset => Ok(reset.map(|()| atoms::ok().to_term(env))?),
                }
            }
        };
        if matches!(op, OpTerm::Take) {
            place.callers.count(epoch, key, id, answer.usages());
        }
        let verdict = encode::verdict_of(&answer);
        match (op, place.threshold()) {
            (OpTerm::Take, Some(share)) if answer.allowed() => {
                let passed = self.passed(key, answer.usages(), cost, under, share);
                Ok(self.answer(env, verdict, &answer, receipt, &passed))
            }
            _ => Ok(self.answer(env, verdict, &answer, receipt, &[])),
        }
    }

    /// The answer of a call that would give back what the id has used, but the id is judged together with others.
    fn no_room<'a>(
        self,
        env: Env<'a>,
        key: Key,
        select: Select,
        under: Under,
    ) -> Result<Term<'a>, Refusal> {
        let planned = self.place.limiter.under(self.epoch, under);
        let now = planned.peek_all(key, select, 0)?;
        Ok(self.answer(env, atoms::unavailable(), &now, Receipt::default(), &[]))
    }

    fn answer<'a>(
        self,
        env: Env<'a>,
        verdict: Atom,
        answer: &Answer,
        receipt: Receipt,
        passed: &[Tag],
    ) -> Term<'a> {
        let place = self.place;
        let emits = Emits {
            events: place.events(),
            passed,
        };
        encode::answer(env, verdict, answer, receipt, emits, place.limiter.scale())
    }
}

#[cold]
fn check_shared<'a>(
    env: Env<'a>,
    shared: &Arc<Shared>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
    plan: Plan,
) -> Result<Term<'a>, Refusal> {
    if !window.is_atom() {
        return Err(Refusal::Misuse);
    }
    let request = Request {
        op: OpTerm::Take,
        cost,
        about: None,
        plan,
    };
    shared.request(env, id, Select::Tags(&[atom_bits::of(window)]), &request)
}

impl Shared {
    fn request<'a>(
        self: &Arc<Self>,
        env: Env<'a>,
        id: Term<'a>,
        select: Select,
        request: &Request,
    ) -> Result<Term<'a>, Refusal> {
        let op = request.op;
        let (key, request) = self.read(id, select, request)?;
        let ticket = Ticket::one(self, op, self.caller(op, key, id));
        let done = Ticket::receiver(&ticket, 0);
        Ok(match self.limiter.submit(request, done)? {
            Some(response) => ticket.answer(env, 0, &response),
            None => Ticket::sent(&ticket, env),
        })
    }

    fn batch<'a>(
        self: &Arc<Self>,
        env: Env<'a>,
        entries: &[(Key, Term<'a>, i64)],
        select: Select,
        (op, plan): (OpTerm, &Plan),
    ) -> Result<Term<'a>, Refusal> {
        let callers = entries.iter();
        let callers = callers.map(|&(key, id, _)| self.caller(op, key, id));
        let callers = callers.collect::<Option<Vec<_>>>().unwrap_or_default();
        let ticket = Ticket::batch(self, op, entries.len(), callers);
        let mut requests = Vec::with_capacity(entries.len());
        for (at, &(_, id, cost)) in entries.iter().enumerate() {
            let (about, plan) = (None, plan.clone());
            let request = Request {
                op,
                cost,
                about,
                plan,
            };
            let (_key, request) = self.read(id, select, &request)?;
            requests.push((request, Ticket::receiver(&ticket, at)));
        }
        let known = self.limiter.submit_batch(requests)?;
        for (at, response) in known.into_iter().enumerate() {
            if let Some(response) = response {
                ticket.put(at, response);
            }
        }
        Ok(Ticket::sent(&ticket, env))
    }

    /// What is to be counted when the call is answered.
    fn caller(&self, op: OpTerm, key: Key, id: Term) -> Option<Caller> {
        match op {
            OpTerm::Take => self.callers.expect(key, id),
            _ => None,
        }
    }

    /// Returns the key of the id, and the request.
    fn read<'s>(
        &self,
        id: Term,
        select: Select<'s>,
        request: &Request,
    ) -> Result<(Key, distributed::Request<'s>), Refusal> {
        let (request_id, receipt) = match request.about {
            Some(About::Id(name, keep_ns)) => (Some((name, keep_ns)), None),
            Some(About::Receipt(Receipt { at, serial }, charged, name)) => {
                let at = Nanos(at.0.saturating_mul(1_000));
                let receipt = distributed::Receipt {
                    at,
                    serial,
                    charged,
                };
                (name.map(|name| (name, 0)), Some(receipt))
            }
            None => (None, None),
        };
        let request_id = request_id.map(|(name, keep_ns)| RequestId {
            id: name.as_slice().into(),
            keep: Nanos(keep_ns),
        });
        let key = id::key(id)?;
        let name = id::name(id, &self.namespace)?;
        let generation = self.generation.load(Ordering::Relaxed);
        let (own, name) = match generation {
            0 => (key, name),
            // Counted from the other end than the epochs of an authority, of which a key has other keys, too.
            generation => (
                key.nth(!generation),
                rate_limiter_redis::of_generation(&name, generation),
            ),
        };
        // Of a call before the reset, nothing counts any more.
        let is_over = |receipt: &distributed::Receipt| {
            generation > 0 && receipt.at.0 / 1_000 <= generation.saturating_add(RESET_LAG_US)
        };
        let (op, cost, receipt) = match receipt {
            Some(receipt) if is_over(&receipt) => (Op::Peek, 0, None),
            receipt => (request.op.into(), units(request.cost), receipt),
        };
        let request = distributed::Request {
            key: own,
            name,
            select,
            limits: request.plan.limits(),
            op,
            cost,
            request_id,
            receipt,
        };
        Ok((key, request))
    }
}

/// A negative cost means a cost that no limit can ever admit.
#[inline]
pub(crate) fn units(cost: i64) -> u64 {
    u64::try_from(cost).unwrap_or(u64::MAX)
}
