//! The client against real servers, healthy and failing.

#![allow(clippy::unwrap_used)] // a failed unwrap explains itself in a test

mod batches;
mod caller;
mod cluster;
mod distance;
mod eviction;
mod faults;
mod lean;
mod passwords;
mod replies;
mod secured;
mod sentinel;
#[path = "../servers/mod.rs"]
mod servers;
