//! The boundary between Erlang terms and `rate_limiter_core` or `rate_limiter_redis`: decode, call once, encode.
//!
//! Terms never enter these, and their types never leave as anything but numbers and atoms. What each function takes
//! and answers is specified in `lib/rate_limiter/native.ex`.

// A NIF owns what it has decoded.
#![allow(clippy::needless_pass_by_value)]

mod atoms;
mod check;
mod clock;
mod control;
mod encode;
mod gate;
mod guard;
mod id;
mod list;
mod names;
mod redis;
mod registry;
mod remote;
mod replay;
mod reply;
mod shelf;
mod spin;
mod word;

rustler::init!("Elixir.RateLimiter.Core.Native");
