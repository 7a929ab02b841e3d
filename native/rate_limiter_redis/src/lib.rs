//! Redis or Valkey as the [`Authority`](rate_limiter_distributed::Authority) of shared limiters.
//!
//! A [`Client`] sends calls to a server, a primary that Sentinels monitor, or a cluster. Each call is decided by a Lua
//! script in the server (`script`, `lua/`), in a compact binary format (`wire`): by a lean one if it takes from one token
//! bucket or fixed window, and by the general one else.
//!
//! # From a call to its answer
//!
//! 1. A caller's thread looks up the server of the key ([`Client`], `routes`), and pushes the call into the queue of
//!    that server (`server`). This never blocks. If the breaker is open or the queue is full, the call is returned
//!    at once.
//! 2. The server's task takes up to 1,024 queued calls, and sends them as one batch (`server/batch.rs`): one `EVALSHA`
//!    of each script for up to 256 calls, in a cluster one for each slot. While a batch is in flight, the next one
//!    gathers, so batches grow with the load, and a single call never waits for a timer. Where a round trip takes
//!    more than two milliseconds, further batches leave meanwhile, about one each millisecond: a call then waits for one
//!    round trip, and not for two.
//! 3. The reply is decoded, and each call is answered exactly once (`pending`), by its deadline and a small grace: also
//!    after an error, a panic in a callback, or [`Client::stop`].
//!
//! # Threads and tasks
//!
//! One I/O thread for the process (`runtime`) runs a task for each server (`server/driver.rs`), and one for each
//! topology that can change (`topology`). Callbacks and the [`Observer`] are called on this thread, so they must not
//! block. Only the server's task touches its connections and its breaker; callers see the queue, an atomic status and
//! the routes, which are swapped as a whole. No lock is held across a wait.
//!
//! # Deadlines and retries
//!
//! A call has one deadline, [`Config::timeout`], for its time in the queue and on the network. It is sent again only if
//! it is certain that it did not run: the server lacks the script (`NOSCRIPT`), or a cluster redirects it (`MOVED`,
//! `ASK`, at most 8 times) or asks for a later attempt (`TRYAGAIN`). A call that may have run is never sent again. Its
//! failure is [`Lost`](rate_limiter_distributed::Failure::Lost), and the limiter decides what that means.
//!
//! After five failures in a row, or without any connection, the breaker of a server opens, and calls are returned at
//! once. It closes when a new connection has run the real script as a health check. A connection without a reply for a
//! second is replaced. A reconnection, another primary, or another owner of a slot begins a new
//! [epoch](rate_limiter_distributed::Authority::epoch), since states may have been lost.
//!
//! # Why not the reconnecting clients of redis-rs
//!
//! This crate uses redis-rs 1.8 for the protocol and for multiplexing, but not its `ConnectionManager`, cluster client
//! and Sentinel client. None of them sends calls of several callers as one command, which costs the server less than
//! half of a command for each. None has a bounded queue that returns a call unsent: callers wait for a place in the
//! channel or for a reconnection, and the response timeout does not include the latter. The cluster client sends a
//! command again after a dropped connection or a timeout, when it may have run, so a call could be charged twice;
//! without retries, it does not follow redirections either. A connection of the Sentinel client does not follow a
//! failover. None reports an epoch, or whether a failed command may have run, and a limiter needs both to reconcile an
//! outage.

#![deny(unsafe_code)]
// An unsent call is returned whole, since its caller continues with it.
#![allow(clippy::result_large_err)]

mod client;
mod command;
mod config;
mod connection;
mod context;
mod credentials;
mod error;
mod heartbeat;
mod latency;
mod name;
mod observer;
mod pending;
mod race;
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
pub use config::{
    Config, Endpoint, Identity, SentinelTls, Tls, Topology, DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_QUEUE, DEFAULT_TIMEOUT,
};
pub use credentials::Credentials;
pub use error::ConfigError;
pub use heartbeat::Heartbeat;
pub use latency::{Latency, LATENCY_BOUNDS_US};
pub use name::{of_generation, Kind, Namespace};
pub use observer::{BatchEvent, BreakerEvent, Change, ConnectionEvent, EvictionEvent, Observer};
pub use redis::Value;
pub use status::{ServerStatus, Status, Totals};
