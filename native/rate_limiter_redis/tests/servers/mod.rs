//! Real servers on free ports of the loopback, for as long as somebody holds them.
//!
//! Each is started by a shell that waits for the end of its own input, and then kills it: so none is left behind, not
//! even by a test run that is killed itself.

#![allow(dead_code, unused_imports)] // not every test uses everything

mod cluster;
mod process;
mod secured;
mod sentinel;
mod server;

pub(crate) use cluster::Cluster;
pub(crate) use process::free_port;
pub(crate) use secured::Secured;
pub(crate) use sentinel::Sentinel;
pub(crate) use server::{ask, until, Server};
