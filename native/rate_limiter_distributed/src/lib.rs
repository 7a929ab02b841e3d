//! Limits that several nodes share, over any authority.

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
pub use call::{Call, Charge, Op, Reply, RequestId, WindowCall, WindowReply};
pub use error::SharedUpdateError;
pub use limiter::SharedLimiter;
pub use members::{Members, Share};
pub use meter::{Meter, MeterError};
pub use options::{OnOutage, SharedOptions};
pub use request::{Request, Response, Source, Verdict};
pub use stats::SharedStats;
