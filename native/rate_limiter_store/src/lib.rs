//! Any store that can replace one value in one step, as an authority.
//!
//! A store knows keys and opaque values. It is called by workers: processes that run outside of this crate. One update of
//! a key is: read the value, pass it to [`KeyCalls::decide`], and store what that returns, unless the value has changed
//! meanwhile; then, once more from the start. All arithmetic is that of a local limiter (`decide`, `window`), and only
//! `state` knows the layout of a value.
//!
//! [`Client`] is the authority. Its thread (`driver`) gathers calls while a worker is busy, hands them over as one batch,
//! and answers each call by its deadline, whatever the store does: it may raise, hang, or return nonsense.

#![deny(unsafe_code)]
// An unsent call is returned whole, since its caller continues with it.
#![allow(clippy::result_large_err)]

mod batch;
mod client;
mod decide;
mod driver;
mod pending;
mod reader;
mod state;
mod status;
mod window;

pub use batch::{Decided, KeyCalls};
pub use client::{Client, Config, Failed, StartError, Workers};
pub use decide::{decide, Decision, Write};
pub use status::Status;
