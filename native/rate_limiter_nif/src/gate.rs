//! Gates and places at work, as terms that the runtime frees: who ends without a word gives its place back.

use std::sync::Arc;

use rate_limiter_core::{Entry, Epoch, Gate, Key, Limiter, Nanos, Outcome, Permit, Usage, Work};
use rustler::{Atom, Encoder, Env, Error, NifResult, Resource, ResourceArc, Term};

use crate::check::{find, units, Target};
use crate::guard::guard;
use crate::{atoms, control, encode, id, word};

/// A gate, which lives as long as somebody refers to it: a term, or a place at work.
struct SharedGate(Arc<Gate>);

/// A place at work. When the process that holds it ends, the runtime frees it, and with it the place.
struct HeldPermit(Permit);

#[rustler::resource_impl]
impl Resource for SharedGate {}

#[rustler::resource_impl]
impl Resource for HeldPermit {}

/// What a call at a gate asks for.
struct Call<'a> {
    target: Target,
    window: Term<'a>,
    key: Key,
    cost: u64,
}

#[rustler::nif]
fn gate_new(
    clock: Term,
    whole: Option<ResourceArc<SharedGate>>,
) -> NifResult<ResourceArc<SharedGate>> {
    guard(|| {
        let clock = control::decode_clock(clock)?;
        let whole = whole.map(|gate| Arc::clone(&gate.0));
        Ok(ResourceArc::new(SharedGate(Arc::new(Gate::new(
            clock, whole,
        )))))
    })
}

/// `:shed`, or what `check` answers. The id is judged and not used: all share the bucket of the window's name.
#[rustler::nif]
fn gate_check<'a>(
    env: Env<'a>,
    gate: ResourceArc<SharedGate>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    with_call(env, limiter, id, window, cost, |call| {
        match gate.0.check(|| call.judge()) {
            Ok(Entry::Allowed(usage, ()) | Entry::Denied(usage)) => call.usage(env, &usage),
            Ok(entry) => turned_away(env, &entry),
            Err(error) => encode::call_error(env, error),
        }
    })
}

/// `{permit, answer}`, or the answer of who was not let in: `:shed`, `{:full, max, in_flight}`, or what `check` answers.
#[rustler::nif]
fn gate_enter<'a>(
    env: Env<'a>,
    gate: ResourceArc<SharedGate>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    with_call(env, limiter, id, window, cost, |call| {
        match gate.0.enter(|| call.judge()) {
            Ok(Entry::Allowed(usage, permit)) => {
                let permit = ResourceArc::new(HeldPermit(permit));
                (permit, call.usage(env, &usage)).encode(env)
            }
            Ok(Entry::Denied(usage)) => call.usage(env, &usage),
            Ok(entry) => turned_away(env, &entry),
            Err(error) => encode::call_error(env, error),
        }
    })
}

/// A place whatever the gate says.
#[rustler::nif]
fn gate_hold(gate: ResourceArc<SharedGate>) -> NifResult<ResourceArc<HeldPermit>> {
    guard(|| Ok(ResourceArc::new(HeldPermit(gate.0.hold()))))
}

/// Gives a place back, and says whether it was this call that did.
#[rustler::nif]
fn permit_finish(permit: ResourceArc<HeldPermit>, outcome: Atom) -> NifResult<bool> {
    guard(|| Ok(permit.0.finish(decode_outcome(outcome)?)))
}

/// Counts work that was measured elsewhere.
#[rustler::nif]
fn gate_record(gate: ResourceArc<SharedGate>, outcome: Atom, us: u64) -> NifResult<Atom> {
    guard(|| {
        let duration = Nanos(us.saturating_mul(1_000));
        gate.0.record(decode_outcome(outcome)?, duration);
        Ok(atoms::ok())
    })
}

#[rustler::nif]
fn gate_cut(gate: ResourceArc<SharedGate>) -> NifResult<Atom> {
    guard(|| {
        gate.0.cut();
        Ok(atoms::ok())
    })
}

/// `nil` is no guard.
#[rustler::nif]
fn gate_set_guard(gate: ResourceArc<SharedGate>, max: Option<u64>) -> NifResult<Atom> {
    guard(|| {
        gate.0.set_guard(max);
        Ok(atoms::ok())
    })
}

/// `nil` is as much as there is.
#[rustler::nif]
fn gate_set_room(gate: ResourceArc<SharedGate>, max: Option<u64>) -> NifResult<Atom> {
    guard(|| {
        gate.0.set_room(max);
        Ok(atoms::ok())
    })
}

#[rustler::nif]
fn gate_set_open(gate: ResourceArc<SharedGate>, ppm: u32) -> NifResult<Atom> {
    guard(|| {
        gate.0.set_open(ppm);
        Ok(atoms::ok())
    })
}

/// `{fresh, earlier}`, each `{ok, errors, timeouts, rejected, waited_us, sum_us, [{bucket, count}]}`: taken out, in one walk over
/// some thousand counters.
#[rustler::nif]
fn gate_drain(env: Env<'_>, gate: ResourceArc<SharedGate>) -> NifResult<Term<'_>> {
    guard(|| {
        let (fresh, earlier) = gate.0.drain();
        Ok((encode_work(env, fresh), encode_work(env, earlier)).encode(env))
    })
}

/// `{{asked, denied, guarded, shed, abandoned}, in_flight, guard | nil, open_ppm}`
#[rustler::nif]
fn gate_counts(env: Env<'_>, gate: ResourceArc<SharedGate>) -> NifResult<Term<'_>> {
    guard(|| {
        let counts = gate.0.counts();
        let totals = (
            counts.asked,
            counts.denied,
            counts.guarded,
            counts.shed,
            counts.abandoned,
        );
        Ok((totals, counts.in_flight, counts.guard, counts.open_ppm).encode(env))
    })
}

impl<'a> Call<'a> {
    fn judge(&self) -> Result<Usage, rate_limiter_core::CallError> {
        let (limiter, epoch): (&Limiter, Epoch) = (&self.target.place.limiter, self.target.epoch);
        limiter.check(epoch, self.key, word::of(self.window), self.cost)
    }

    fn usage(&self, env: Env<'a>, usage: &Usage) -> Term<'a> {
        let place = self.target.place;
        encode::usage(env, usage, place.events(), place.limiter.scale().ppm())
    }
}

fn with_call<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
    answer: impl FnOnce(&Call<'a>) -> Term<'a>,
) -> NifResult<Term<'a>> {
    guard(|| {
        let target = match find(env, limiter)? {
            Ok(target) => target,
            Err(answer) => return Ok(answer),
        };
        if id::key(id).is_none() {
            return Ok(atoms::bad_id().to_term(env));
        }
        Ok(answer(&Call {
            target,
            window,
            key: id::key(window).ok_or(Error::BadArg)?,
            cost: units(cost),
        }))
    })
}

fn turned_away<'a, P>(env: Env<'a>, entry: &Entry<P>) -> Term<'a> {
    match entry {
        Entry::Full { max, in_flight } => (atoms::full(), *max, *in_flight).encode(env),
        _ => atoms::shed().to_term(env),
    }
}

fn decode_outcome(outcome: Atom) -> NifResult<Outcome> {
    if outcome == atoms::ok() {
        Ok(Outcome::Ok)
    } else if outcome == atoms::error() {
        Ok(Outcome::Error)
    } else if outcome == atoms::timeout() {
        Ok(Outcome::Timeout)
    } else if outcome == atoms::rejected() {
        Ok(Outcome::Rejected)
    } else if outcome == atoms::none() {
        Ok(Outcome::NoOpinion)
    } else {
        Err(Error::BadArg)
    }
}

fn encode_work(env: Env<'_>, work: Work) -> Term<'_> {
    (
        work.ok,
        work.errors,
        work.timeouts,
        work.rejected,
        work.waited_us,
        work.sum_us,
        work.buckets,
    )
        .encode(env)
}
