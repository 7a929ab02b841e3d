//! Keeps a panic on this side of the boundary.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

use rustler::{Error, NifResult};

use crate::atoms;

/// Runs `body`; a panic becomes a raised `{:rate_limiter_panic, message}`.
///
/// Unwinding drops the locks that core holds. What a panic leaves half done is at most one call's: no state of another
/// key is touched while one is decided.
#[inline]
pub(crate) fn guard<T>(body: impl FnOnce() -> NifResult<T>) -> NifResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(raised(&*panic)))
}

#[cold]
fn raised(panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned());
    Error::RaiseTerm(Box::new((atoms::rate_limiter_panic(), message)))
}

/// Panics with `message`, so that a test can see what becomes of it.
#[rustler::nif]
fn panic(message: String) -> NifResult<bool> {
    guard(|| panic!("{message}"))
}
