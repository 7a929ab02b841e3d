//! The boundary between Erlang terms and `rate_limiter_core` or `rate_limiter_redis`: decode, call once, encode.
//!
//! Terms never enter these, and their types never leave as anything but numbers and atoms. What each function takes
//! and answers is specified in `lib/rate_limiter/native.ex`.

// A NIF owns what it has decoded.
#![allow(clippy::needless_pass_by_value)]

mod atom_bits;
mod atoms;
mod catch_panic;
mod clock;
mod decode;
mod encode;
mod gate;
mod handle;
mod handle_map;
mod id;
mod limiter;
mod local;
mod names;
mod redis;
mod refusal;
mod registry;
mod replay;
mod reply;
mod request;
mod shared;
mod spin;
mod ticket;
mod window;

rustler::init!("Elixir.RateLimiter.Core.Native");
