//! Redis or Valkey as the [`Authority`](rate_limiter_distributed::Authority) of shared limiters.
//!
//! [`Client`] carries their calls: those that wait at the same time travel together, and each is answered exactly once
//! by its deadline. `script` runs in the server; `wire` writes calls for it and reads its replies.

#![deny(unsafe_code)]
// A call that is not sent is handed back whole: whoever made it goes on with it.
#![allow(clippy::result_large_err)]

mod client;
mod command;
mod config;
mod connection;
mod context;
mod credentials;
mod error;
mod heartbeat;
mod name;
mod observer;
mod pending;
mod routes;
mod runtime;
pub mod script;
mod server;
mod server_kind;
mod slot;
mod status;
mod topology;
pub mod wire;

pub use client::Client;
pub use command::{Command, CommandDone};
pub use config::{Config, Endpoint, Identity, Tls, Topology, DEFAULT_MAX_QUEUE, DEFAULT_TIMEOUT};
pub use credentials::Credentials;
pub use error::ConfigError;
pub use heartbeat::Heartbeat;
pub use name::{Kind, Namespace};
pub use observer::{BatchEvent, BreakerEvent, Change, ConnectionEvent, EvictionEvent, Observer};
pub use redis::Value;
pub use status::{ServerStatus, Status, Totals};
