//! The boundary between Erlang terms and the other crates: decode, call once, encode.
//!
//! Terms never enter the other crates, and only numbers, strings and atoms leave them. The specification of each function
//! is in `lib/rate_limiter/core/native.ex`.
//!
//! `registry` finds the limiter of a name or handle: `local` in a table of this node, or `shared`. `request` has the calls
//! about an id, `ticket` the wait for an authority, `redis` and `custom` the two kinds of stores, `limiter` all else about a
//! limiter, `plan` other limits for it, `callers` who calls most, `gate` the gates, `document` reads files of limits.

// A NIF owns its decoded arguments.
#![allow(clippy::needless_pass_by_value)]

#[macro_use]
mod atom_enum;

mod atom_bits;
mod atoms;
mod binary;
mod callers;
mod catch_panic;
mod checkpoint;
mod clock;
mod custom;
mod decode;
mod document;
mod encode;
mod gate;
mod handle;
mod handle_map;
mod id;
mod limiter;
mod local;
mod memory;
mod names;
mod op;
mod plan;
mod redis;
mod refusal;
mod registry;
mod replay;
mod reply;
mod request;
mod shared;
mod spin;
mod store;
mod ticket;
mod window;

rustler::init!("Elixir.RateLimiter.Core.Native");
