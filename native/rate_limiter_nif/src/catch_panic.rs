//! Keeps a panic on this side of the boundary.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

use rustler::{Error, NifResult};

use crate::atoms;

/// Runs `body`; a panic becomes a raised `{:rate_limiter_panic, message}`.
///
/// Unwinding releases the locks of core. At most the call that panicked is left incomplete: while one key is decided,
/// no state of another key is touched.
#[inline]
pub(crate) fn catch_panic<T>(body: impl FnOnce() -> NifResult<T>) -> NifResult<T> {
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

/// Panics with `message`, for a test. `resume_unwind` skips the panic hook, so that the test prints nothing.
#[rustler::nif]
fn panic(message: String) -> NifResult<bool> {
    catch_panic(|| std::panic::resume_unwind(Box::new(message)))
}
