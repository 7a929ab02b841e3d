//! Limits that many nodes share, kept in Redis or Valkey, and what to do while that is away.
//!
//! Inside, from the outside in: [`RemoteLimiter`] knows a limiter's windows, this node's share of them and what Redis last
//! said; [`Client`] carries its [`Call`]s, those that wait at the same time together, and answers each exactly once by
//! its deadline; `script` is what runs in the server, and `wire` how a call is written for it and its reply read.

#![deny(unsafe_code)]
// A call that is not sent is handed back whole: whoever made it goes on with it.
#![allow(clippy::result_large_err)]

mod breaker;
mod call;
mod client;
mod config;
mod connection;
mod context;
mod credentials;
mod denials;
mod error;
mod eviction;
mod fallback;
mod lane;
mod limiter;
mod members;
mod meter;
mod mirror;
mod name;
mod observer;
mod options;
mod outcome;
mod plan;
mod routes;
mod runtime;
pub mod script;
mod server_clock;
mod stats;
mod status;
mod swap;
mod ticket;
mod topology;
mod turns;
pub mod wire;

pub use breaker::State as BreakerState;
pub use call::{
    Call, Charge, Command, CommandDone, Done, Failure, Op, Reply, Request, Row, Transport, Unsent,
    WindowCall,
};
pub use client::Client;
pub use config::{Config, Endpoint, Identity, Tls, Topology, DEFAULT_MAX_QUEUE, DEFAULT_TIMEOUT};
pub use credentials::Credentials;
pub use error::ConfigError;
pub use limiter::{RemoteLimiter, RemoteUpdateError};
pub use members::{Members, Share};
pub use meter::{Meter, MeterError};
pub use name::{Kind, Namespace};
pub use observer::{BatchEvent, BreakerEvent, Change, ConnectionEvent, EvictionEvent, Observer};
pub use options::{OnOutage, RemoteOptions};
pub use outcome::{Ask, Outcome, Source, Turn, Verdict};
pub use redis::Value;
pub use stats::RemoteStats;
pub use status::{ServerStatus, Status, Totals};
