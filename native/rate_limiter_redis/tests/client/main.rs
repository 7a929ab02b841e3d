//! The client against real servers, well and failing.

#![allow(clippy::unwrap_used)] // a test that unwraps says enough when it fails

mod batches;
mod caller;
mod cluster;
mod eviction;
mod faults;
mod secured;
mod sentinel;
#[path = "../servers/mod.rs"]
mod servers;
mod tags;
