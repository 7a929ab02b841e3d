//! The script on a real server.

#[path = "../../../rate_limiter_core/tests/vectors/case.rs"]
mod case;
#[path = "../../../rate_limiter_core/tests/model/mod.rs"]
#[allow(unused_imports)] // the model answers by itself elsewhere
mod model;
#[path = "../../../rate_limiter_core/tests/rig/mod.rs"]
mod rig;
#[path = "../../../rate_limiter_core/tests/vectors/text.rs"]
#[allow(dead_code)] // the writer of vectors uses the rest
mod text;

mod laws;
mod remote;
mod server;
mod traps;
mod vectors;
