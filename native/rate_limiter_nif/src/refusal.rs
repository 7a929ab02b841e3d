//! Why a call has no answer.

use rate_limiter_core::CallError;
use rustler::{Atom, Encoder, Env, Error, NifResult, Term};

use crate::atoms;
use crate::catch_panic::catch_panic;

/// Why a call has no answer.
pub(crate) enum Refusal {
    /// An atom that Elixir turns into an error message.
    Known(Atom),
    /// A term that the function does not take.
    Misuse,
}

/// Runs the body of a NIF, and returns its value or its refusal as a term.
#[inline]
pub(crate) fn answer<T: Encoder>(
    env: Env<'_>,
    body: impl FnOnce() -> Result<T, Refusal>,
) -> NifResult<Term<'_>> {
    catch_panic(|| match body() {
        Ok(value) => Ok(value.encode(env)),
        Err(Refusal::Known(atom)) => Ok(atom.to_term(env)),
        Err(Refusal::Misuse) => Err(Error::BadArg),
    })
}

impl From<Atom> for Refusal {
    #[cold]
    fn from(atom: Atom) -> Self {
        Self::Known(atom)
    }
}

impl From<Error> for Refusal {
    #[cold]
    fn from(_error: Error) -> Self {
        Self::Misuse
    }
}

impl From<CallError> for Refusal {
    #[cold]
    fn from(error: CallError) -> Self {
        Self::Known(match error {
            CallError::UnknownWindow => atoms::unknown_window(),
            CallError::UnknownPlan => atoms::unknown_plan(),
            _ => atoms::unknown_limiter(),
        })
    }
}
