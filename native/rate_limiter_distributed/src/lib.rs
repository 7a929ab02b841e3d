//! Limits that several nodes share, over any authority.
//!
//! An [`Authority`] decides for all nodes: a Redis server, or the node that owns a key. This crate is what every node
//! needs besides: it sends requests there, remembers what came back, and continues within its share while the authority
//! is away. It does not know any particular authority.
//!
//! # A request
//!
//! [`SharedLimiter::submit`] turns a [`Request`] into a [`Response`]:
//!
//! 1. A denial of the same request that still holds is returned from memory (`denials`).
//! 2. Otherwise the request becomes a [`Call`] (`limiter/request.rs`). Its windows carry what the authority has to
//!    count first: the state that it may have lost (`last_known`), and the usage that this node admitted alone
//!    (`fallback`).
//! 3. The authority decides, and its [`Reply`] holds the usage and the state of each window (`limiter/response.rs`).
//!    The state is remembered, and this node's own count of the key ends.
//! 4. Without a reply, this node decides within its [`Share`], from the last known state on. The key joins the backlog,
//!    which is reported with the key's next call or in the background (`limiter/reconcile.rs`).
//!
//! [`SharedLimiter`] states by how much each fault can exceed a limit, and [`Authority`] what that requires of an
//! authority.
//!
//! # Parts that authorities use
//!
//! - [`Meter`] is a limit in portable numbers, with a codec for limits and states: for an authority that decides
//!   outside of this process, such as a script. One that runs `rate_limiter_core` needs the limit only.
//! - [`Members`] holds the nodes that an authority reports.
//! - [`breaker`] decides whether calls are sent to a server that has failed.
//!
//! # Threads
//!
//! A request never parks its thread, which may be an Erlang scheduler. The only lock that it waits for is the key's own
//! in the fallback, for some microseconds; [`Authority::send`] is called under it. A change of a limit may park, and
//! requests do not wait for it. The crate starts no threads: callbacks run on those of the authority.
//!
//! # Example
//!
//! ```
//! use rate_limiter_core::{Clock, Limit, Seed, Select};
//! use rate_limiter_distributed::{
//!     Authority, Call, Done, Failure, Limits, Members, OnOutage, Op, Request, SharedLimiter,
//!     SharedOptions, Source, Unsent, Verdict,
//! };
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! /// An authority without a connection.
//! struct Unreachable;
//!
//! impl Authority for Unreachable {
//!     fn send(&self, call: Call, done: Done) -> Result<(), Unsent> {
//!         let failure = Failure::Away;
//!         Err(Unsent { call, done, failure })
//!     }
//!
//!     fn epoch(&self) -> u64 {
//!         0
//!     }
//! }
//!
//! let limit = Limit::token_bucket(10, Duration::from_secs(60));
//! let options = SharedOptions {
//!     clock: Clock::Monotonic,
//!     on_outage: OnOutage::Share,
//!     // Two nodes, so this one's share is 5.
//!     members: Arc::new(Members::new("this node", 2, Duration::from_secs(15))),
//!     cache_denials: true,
//!     remember: 10_000,
//!     threshold: None,
//! };
//! let limiter = SharedLimiter::new(&[(1, "minute", limit)], options, Arc::new(Unreachable))?;
//!
//! let request = Request {
//!     key: Seed::random().key(b"ann"),
//!     name: b"api:ann".to_vec().into(),
//!     select: Select::All,
//!     limits: Limits::Own,
//!     op: Op::Take,
//!     cost: 2,
//!     request_id: None,
//!     receipt: None,
//! };
//! let response = limiter.submit(request, drop)?.expect("known at once");
//! assert_eq!((response.verdict, response.source), (Verdict::Allowed, Source::Fallback));
//! assert_eq!(response.answer.expect("an answer").binding().1.remaining, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]
// An unsent call is returned whole, since its caller continues with it.
#![allow(clippy::result_large_err)]

mod authority;
mod authority_clock;
pub mod breaker;
mod call;
mod denials;
mod error;
mod fallback;
mod key_lock;
mod last_known;
mod limiter;
mod members;
pub mod meter;
mod options;
mod request;
mod stats;
mod table;

pub use authority::{Authority, Done, Failure, Unsent};
pub use breaker::State as BreakerState;
pub use call::{Call, Charge, NamedCharge, Op, Receipt, Reply, RequestId, WindowCall, WindowReply};
pub use error::SharedUpdateError;
pub use limiter::SharedLimiter;
pub use members::{Members, Share};
pub use meter::{Meter, MeterError};
pub use options::{OnOutage, SharedOptions};
pub use request::{Limits, Request, Response, Source, Verdict};
pub use stats::{SharedStats, SharedWindowStats};
