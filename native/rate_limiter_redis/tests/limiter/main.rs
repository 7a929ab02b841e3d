//! Shared limiters of several nodes on a real server.

#![allow(clippy::unwrap_used)] // a failed unwrap explains itself in a test

mod clocks;
mod members;
mod node;
mod outage;
#[path = "../servers/mod.rs"]
mod servers;
