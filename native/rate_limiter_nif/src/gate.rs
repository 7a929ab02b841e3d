//! Gates and permits, as terms that the runtime frees: a process that ends gives its permits back.

use std::sync::Arc;

use rate_limiter_core::{
    CallError, Entry, Gate, Key, Nanos, Outcome, Permit, Receipt, Usage, Work,
};
use rustler::{Atom, Encoder, Env, NifResult, Resource, ResourceArc, Term};

use crate::catch_panic::catch_panic;
use crate::decode::Arg;
use crate::limiter::decode_clock;
use crate::local::Local;
use crate::refusal::{answer, Refusal};
use crate::registry;
use crate::request::units;
use crate::{atom_bits, atoms, id};

/// A gate, which lives as long as a term or a permit refers to it.
struct SharedGate(Arc<Gate>);

/// A permit. When the process that holds it ends, the runtime frees the term, and with it the permit.
struct HeldPermit(Permit);

#[rustler::resource_impl]
impl Resource for SharedGate {}

#[rustler::resource_impl]
impl Resource for HeldPermit {}

atom_enum!(OutcomeTerm => Outcome {
    Ok = Ok,
    Error = Error,
    Timeout = Timeout,
    Rejected = Rejected,
    None = NoOpinion,
});

/// `{ok, errors, timeouts, rejected, waited_us, sum_us, [{bucket, count}]}`
type WorkTerm = (u64, u64, u64, u64, u64, u64, Vec<(usize, u64)>);

/// `{asked, denied, guarded, shed, abandoned}`
type TotalsTerm = (u64, u64, u64, u64, u64);

/// A call at a gate, on the limiter of its subsystem. All ids share the bucket that has the window's name as its key.
struct Call<'a> {
    local: Local,
    window: Term<'a>,
    key: Key,
    cost: u64,
}

impl<'a> Call<'a> {
    fn new(limiter: Term<'a>, id: Term<'a>, window: Term<'a>, cost: i64) -> Result<Self, Refusal> {
        let local = registry::find_local(limiter)?;
        id::key(id)?;
        Ok(Self {
            local,
            window,
            key: id::key(window).map_err(|_| Refusal::Misuse)?,
            cost: units(cost),
        })
    }

    fn decide(&self) -> Result<Usage, CallError> {
        let Local { place, epoch } = self.local;
        let tag = atom_bits::of(self.window);
        place.limiter.check(epoch, self.key, tag, self.cost)
    }
}

#[rustler::nif]
fn gate_new(
    clock: Term,
    whole: Option<ResourceArc<SharedGate>>,
) -> NifResult<ResourceArc<SharedGate>> {
    catch_panic(|| {
        let whole = whole.map(|gate| Arc::clone(&gate.0));
        let gate = Gate::new(decode_clock(clock)?, whole);
        Ok(ResourceArc::new(SharedGate(Arc::new(gate))))
    })
}

/// `:shed`, or what `check` returns.
#[rustler::nif]
fn gate_check<'a>(
    env: Env<'a>,
    gate: ResourceArc<SharedGate>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let call = Call::new(limiter, id, window, cost)?;
        Ok(match gate.0.check(|| call.decide())? {
            Entry::Allowed(usage, ()) | Entry::Denied(usage) => {
                call.local.usage(env, &usage, Receipt::default())
            }
            entry => turned_away(env, &entry),
        })
    })
}

/// `{permit, answer}` for an admitted call; else `:shed`, `{:full, max, in_flight}`, or what `check` returns.
#[rustler::nif]
fn gate_enter<'a>(
    env: Env<'a>,
    gate: ResourceArc<SharedGate>,
    limiter: Term<'a>,
    id: Term<'a>,
    window: Term<'a>,
    cost: i64,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let call = Call::new(limiter, id, window, cost)?;
        Ok(match gate.0.enter(|| call.decide())? {
            Entry::Allowed(usage, permit) => {
                let permit = ResourceArc::new(HeldPermit(permit));
                (permit, call.local.usage(env, &usage, Receipt::default())).encode(env)
            }
            Entry::Denied(usage) => call.local.usage(env, &usage, Receipt::default()),
            entry => turned_away(env, &entry),
        })
    })
}

/// A permit, whatever the state of the gate.
#[rustler::nif]
fn gate_hold(gate: ResourceArc<SharedGate>) -> NifResult<ResourceArc<HeldPermit>> {
    catch_panic(|| Ok(ResourceArc::new(HeldPermit(gate.0.hold()))))
}

/// Gives a permit back. Returns whether it was this call that did.
#[rustler::nif]
fn permit_finish(
    permit: ResourceArc<HeldPermit>,
    Arg(outcome): Arg<OutcomeTerm>,
) -> NifResult<bool> {
    catch_panic(|| Ok(permit.0.finish(outcome.into())))
}

/// Counts work that was measured elsewhere.
#[rustler::nif]
fn gate_record(
    gate: ResourceArc<SharedGate>,
    Arg(outcome): Arg<OutcomeTerm>,
    us: u64,
) -> NifResult<Atom> {
    let duration = Nanos(us.saturating_mul(1_000));
    on_gate(|| gate.0.record(outcome.into(), duration))
}

#[rustler::nif]
fn gate_cut(gate: ResourceArc<SharedGate>) -> NifResult<Atom> {
    on_gate(|| gate.0.cut())
}

/// `nil` removes the guard.
#[rustler::nif]
fn gate_set_guard(gate: ResourceArc<SharedGate>, max: Option<u64>) -> NifResult<Atom> {
    on_gate(|| gate.0.set_guard(max))
}

/// `nil` means as much as there is.
#[rustler::nif]
fn gate_set_room(gate: ResourceArc<SharedGate>, max: Option<u64>) -> NifResult<Atom> {
    on_gate(|| gate.0.set_room(max))
}

#[rustler::nif]
fn gate_set_open(gate: ResourceArc<SharedGate>, ppm: u32) -> NifResult<Atom> {
    on_gate(|| gate.0.set_open(ppm))
}

fn on_gate(call: impl FnOnce()) -> NifResult<Atom> {
    catch_panic(|| {
        call();
        Ok(atoms::ok())
    })
}

/// Takes the work out as `{fresh, earlier}`, in one walk over some thousand counters.
#[rustler::nif]
fn gate_drain(gate: ResourceArc<SharedGate>) -> NifResult<(WorkTerm, WorkTerm)> {
    catch_panic(|| {
        let (fresh, earlier) = gate.0.drain();
        Ok((work(fresh), work(earlier)))
    })
}

/// `{totals, in_flight, guard | nil, open_ppm}`
#[rustler::nif]
fn gate_counts(gate: ResourceArc<SharedGate>) -> NifResult<(TotalsTerm, u64, Option<u64>, u32)> {
    catch_panic(|| {
        let counts = gate.0.counts();
        let (asked, denied) = (counts.asked, counts.denied);
        let totals = (asked, denied, counts.guarded, counts.shed, counts.abandoned);
        Ok((totals, counts.in_flight, counts.guard, counts.open_ppm))
    })
}

fn turned_away<'a, P>(env: Env<'a>, entry: &Entry<P>) -> Term<'a> {
    match entry {
        Entry::Full { max, in_flight } => (atoms::full(), *max, *in_flight).encode(env),
        _ => atoms::shed().to_term(env),
    }
}

fn work(work: Work) -> WorkTerm {
    let (waited, sum) = (work.waited_us, work.sum_us);
    (
        work.ok,
        work.errors,
        work.timeouts,
        work.rejected,
        waited,
        sum,
        work.buckets,
    )
}
