//! Real servers on free ports of the loopback interface, killed when they are dropped.
//!
//! Each is started by a shell that kills it when the shell's own input ends, so no server survives a test run, not even
//! one that is killed.

#![allow(dead_code, unused_imports, clippy::unwrap_used)] // not every test uses all of it

mod cluster;
mod process;
mod proxy;
mod secured;
mod sentinel;
mod server;

pub(crate) use cluster::Cluster;
pub(crate) use process::free_port;
pub(crate) use proxy::Proxy;
pub(crate) use secured::Secured;
pub(crate) use sentinel::Sentinel;
pub(crate) use server::{try_run, until, Server};
