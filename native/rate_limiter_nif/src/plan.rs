//! Plans, as Elixir names and describes them.

use std::time::Duration;

use rate_limiter_core::{CallError, Change, Key, Under, UpdateError};
use rate_limiter_distributed::{Limits, SharedUpdateError};
use rustler::{Atom, Decoder, Encoder, Env, Error, NifResult, Term};

use crate::decode::List;
use crate::id::{self, NoKey};
use crate::local::Local;
use crate::refusal::{answer, Refusal};
use crate::registry::{self, Limiter};
use crate::{atom_bits, atoms};

/// The plan of a call: `nil` for the limiter's own limits, the name of a plan, or `[change]`.
#[derive(Clone)]
pub(crate) enum Plan {
    Own,
    Named(Key),
    Changed(Vec<Change>),
}

/// `{window, limit | nil, per_ns | nil, burst | nil, enforced? | nil}`
struct ChangeTerm(Change);

/// A plan with its name.
struct NamedTerm(Key, Vec<Change>);

impl<'a> Decoder<'a> for Plan {
    #[inline]
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if term.is_list() {
            return changes(term).map(Self::Changed);
        }
        match id::key(term) {
            Ok(name) => Ok(Self::Named(name)),
            // Of all atoms, only `nil` is no id.
            Err(NoKey::Invalid) if term.is_atom() => Ok(Self::Own),
            Err(_) => Err(Error::BadArg),
        }
    }
}

impl<'a> Decoder<'a> for ChangeTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        type Fields = (Atom, Option<u64>, Option<u64>, Option<u64>, Option<bool>);
        let (window, limit, per_ns, burst, is_enforced): Fields =
            term.decode().map_err(|_| Error::BadArg)?;
        // No cost could reach a higher limit.
        let max = i64::MAX.unsigned_abs();
        if limit.is_some_and(|limit| limit > max) {
            return Err(Error::BadArg);
        }
        Ok(Self(Change {
            tag: atom_bits::of_atom(window),
            limit,
            per: per_ns.map(Duration::from_nanos),
            burst,
            is_enforced,
        }))
    }
}

impl<'a> Decoder<'a> for NamedTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let (name, plan): (Term, Term) = term.decode().map_err(|_| Error::BadArg)?;
        Ok(Self(named(name)?, changes(plan)?))
    }
}

fn changes(term: Term) -> NifResult<Vec<Change>> {
    let List(changes) = term.decode::<List<ChangeTerm>>()?;
    Ok(changes
        .into_iter()
        .map(|ChangeTerm(change)| change)
        .collect())
}

fn named(name: Term) -> NifResult<Key> {
    id::key(name).map_err(|_| Error::BadArg)
}

impl Plan {
    /// Runs a call of a local limiter under the plan.
    #[inline]
    pub(crate) fn run<R>(
        &self,
        local: Local,
        call: impl FnOnce(Under) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        match self {
            Self::Own => call(Under::Own),
            Self::Named(name) => call(Under::Plan(*name)),
            Self::Changed(changes) => match local.place.limiter.made(local.epoch, changes) {
                Ok(made) => call(Under::Made(&made)),
                Err(UpdateError::Call(error)) => Err(error.into()),
                // The numbers cannot be kept.
                Err(_) => Err(CallError::UnknownPlan.into()),
            },
        }
    }

    /// The limits of a request to a shared limiter.
    pub(crate) fn limits(&self) -> Limits {
        match self {
            Self::Own => Limits::Own,
            Self::Named(name) => Limits::Plan(*name),
            Self::Changed(changes) => Limits::Changed(changes.clone()),
        }
    }
}

/// Adds plans, or replaces those of the same names: `:ok` or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn put_plans<'a>(env: Env<'a>, limiter: Term<'a>, plans: List<NamedTerm>) -> NifResult<Term<'a>> {
    answer(env, || {
        let plans: Vec<_> = plans
            .0
            .into_iter()
            .map(|NamedTerm(name, plan)| (name, plan))
            .collect();
        let put = match registry::find(limiter)? {
            Limiter::Local(local) => match local.place.limiter.put_plans(local.epoch, &plans) {
                Err(UpdateError::Call(error)) => return Err(error.into()),
                put => put.map_err(|error| error.to_string()),
            },
            Limiter::Shared(shared) => match shared.limiter.put_plans(&plans) {
                Err(SharedUpdateError::Call(error)) => return Err(error.into()),
                put => put.map_err(|error| error.to_string()),
            },
        };
        Ok(match put {
            Ok(()) => atoms::ok().to_term(env),
            Err(reason) => (atoms::error(), reason).encode(env),
        })
    })
}

/// Removes a plan, and returns whether it existed.
#[rustler::nif(schedule = "DirtyCpu")]
fn remove_plan<'a>(env: Env<'a>, limiter: Term<'a>, name: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, || {
        let name = named(name)?;
        Ok(match registry::find(limiter)? {
            Limiter::Local(local) => local.place.limiter.remove_plan(local.epoch, name)?,
            Limiter::Shared(shared) => shared.limiter.remove_plan(name),
        })
    })
}
