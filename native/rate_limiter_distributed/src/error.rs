//! Why a limit could not be changed.

use rate_limiter_core::{CallError, UpdateError};

use crate::meter::MeterError;

/// Why a limit could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedUpdateError {
    /// The limiter has no such window.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The new limit does not fit portable numbers.
    #[error(transparent)]
    Limit(#[from] MeterError),
    /// The new limit does not fit this node's own tables.
    #[error(transparent)]
    Update(#[from] UpdateError),
}
