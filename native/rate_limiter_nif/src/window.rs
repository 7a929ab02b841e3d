//! The windows of a limiter, as Elixir describes them.

use std::time::Duration;

use rate_limiter_core::{Algorithm, Limit, LimitError, Tag};
use rate_limiter_distributed::Meter;
use rustler::{Atom, Decoder, Env, Error, NifResult, NifUnitEnum, Term};

use crate::atom_bits;

/// `{name, algorithm, limit, per_ns, burst | nil, sub_windows | nil, {aligned?, enforced?}}`
pub(crate) struct Window {
    pub(crate) name: Atom,
    pub(crate) limit: Limit,
}

#[derive(Clone, Copy, NifUnitEnum)]
enum AlgorithmTerm {
    TokenBucket,
    SlidingWindow,
    SlidingLog,
    FixedWindow,
}

/// Why a limit cannot be kept, with its window unless it is the fault of all: `{window | nil, reason}`.
pub(crate) type Rejection = (Option<Atom>, String);

impl<'a> Decoder<'a> for Window {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        type Fields = (
            Atom,
            AlgorithmTerm,
            u64,
            u64,
            Option<u64>,
            Option<u32>,
            (bool, bool),
        );
        let fields: Fields = term.decode().map_err(|_| Error::BadArg)?;
        let (name, algorithm, limit, per_ns, burst, sub_windows, (aligned, is_enforced)) = fields;
        let algorithm = match algorithm {
            AlgorithmTerm::TokenBucket => Algorithm::TokenBucket { burst },
            AlgorithmTerm::SlidingWindow => match sub_windows {
                Some(sub_windows) => Algorithm::SlidingWindow { sub_windows },
                None => Limit::sliding_window(limit, Duration::ZERO).algorithm(),
            },
            AlgorithmTerm::SlidingLog => Algorithm::SlidingLog,
            AlgorithmTerm::FixedWindow => Algorithm::FixedWindow { aligned },
        };
        let limit = Limit::new(limit, Duration::from_nanos(per_ns), algorithm);
        let limit = limit.enforced(is_enforced);
        Ok(Self { name, limit })
    }
}

impl Window {
    /// Burst and sub-windows, each only for its algorithm.
    pub(crate) fn settings(&self) -> (Option<u64>, Option<u32>) {
        match self.limit.algorithm() {
            Algorithm::TokenBucket { .. } => (Some(self.limit.capacity()), None),
            Algorithm::SlidingWindow { sub_windows } => (None, Some(sub_windows)),
            Algorithm::SlidingLog | Algorithm::FixedWindow { .. } => (None, None),
        }
    }
}

/// The limits of the windows, if this node can keep each.
pub(crate) fn limits(windows: &[Window]) -> Result<Vec<(Tag, Limit)>, Rejection> {
    let limits = windows.iter().map(|Window { name, limit }| {
        validate(limit).map_err(|error| (Some(*name), error.to_string()))?;
        Ok((atom_bits::of_atom(*name), limit.clone()))
    });
    limits.collect()
}

/// The names of the windows, if portable numbers can hold each limit.
pub(crate) fn fit_shared(env: Env<'_>, windows: &[Window]) -> Result<Vec<String>, Rejection> {
    let names = windows.iter().map(|Window { name, limit }| {
        let text = atom_bits::text(name.to_term(env)).unwrap_or_default();
        match Meter::new(&text, limit) {
            Ok(_meter) => Ok(text),
            Err(error) => Err((Some(*name), error.to_string())),
        }
    });
    names.collect()
}

pub(crate) fn unnamed(error: impl ToString) -> Rejection {
    (None, error.to_string())
}

/// A cost from Erlang fits 63 bits. So no cost could reach a higher limit, and a cost above it could not be told from
/// one that stands for never.
fn validate(limit: &Limit) -> Result<(), LimitError> {
    let max = i64::MAX.unsigned_abs();
    if limit.limit() > max {
        return Err(LimitError::LimitTooHigh {
            limit: limit.limit(),
            max,
        });
    }
    limit.validate()
}
