//! A limiter and its nodes before a real server.

#![allow(clippy::unwrap_used)] // a test that unwraps says enough when it fails

mod clocks;
mod members;
mod node;
mod outage;
#[path = "../servers/mod.rs"]
mod servers;
