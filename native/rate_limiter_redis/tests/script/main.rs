//! The scripts on a real server.

#[path = "../../../rate_limiter_core/tests/vectors/case.rs"]
mod case;
#[path = "../../../rate_limiter_core/tests/model/mod.rs"]
#[allow(unused_imports)] // used elsewhere
mod model;
#[path = "../../../rate_limiter_core/tests/rig/mod.rs"]
mod rig;
#[path = "../../../rate_limiter_core/tests/vectors/text.rs"]
#[allow(dead_code)] // used by the generator of the vectors
mod text;

mod charges;
mod fixture;
mod forged;
mod laws;
mod lean;
mod lowered;
mod memory;
mod redis_limiter;
mod requests;
#[path = "../servers/mod.rs"]
mod servers;
mod several;
mod several_receipts;
mod traps;
mod vectors;
