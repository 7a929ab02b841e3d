//! The boundary between Erlang terms and `rate_limiter_core`: decode, call core once, encode.
//!
//! Terms never enter core, and core's types never leave as anything but numbers and atoms. What each function takes
//! and answers is specified in `lib/rate_limiter/native.ex`.

// A NIF owns what it has decoded.
#![allow(clippy::needless_pass_by_value)]

mod atoms;
mod check;
mod clock;
mod control;
mod encode;
mod guard;
mod id;
mod list;
mod names;
mod registry;
mod replay;
mod word;

rustler::init!("Elixir.RateLimiter.Native");
