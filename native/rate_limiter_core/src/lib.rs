//! Exact rate limits in memory, for any number of keys and threads.
//!
//! # Trade-offs
//!
//! - State lives in this process only. A [`Snapshot`] moves the state of one key to another store.
//! - Ids are hashed, not stored, so the keys of a limiter cannot be listed.
//! - The number of keys is capped. Beyond the cap, new keys share one state: they may be denied too early, never
//!   admitted too often.
//! - A window cannot change its algorithm, since its states have another shape. Its limit and the scale can change at
//!   any time without forgetting what was used.
//!
//! # Usage
//!
//! A [`Limiter`] has one or more windows, each a [`Limit`] under a [`Tag`]. A [`Key`] is the hash of an id under a
//! secret [`Seed`]. Each call returns a [`Usage`]: admitted or denied, what is left, and when the same call can
//! succeed.
//!
//! ```
//! use rate_limiter_core::{Clock, Limit, Limiter, ManualClock, Nanos, Options, Retry, Seed, Select};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! // A clock that stands still, so that the answers below are exact.
//! let clock = Arc::new(ManualClock::default());
//! let options = Options { clock: Clock::Manual(clock.clone()), ..Options::default() };
//! let second = Limit::token_bucket(2, Duration::from_secs(1));
//! let hour = Limit::sliding_window(100, Duration::from_secs(3_600));
//! let (limiter, epoch) = Limiter::new(&[(1, second), (2, hour)], options)?;
//! let key = Seed::random().key(b"user 7");
//!
//! assert!(limiter.check_all(epoch, key, Select::All, 2)?.allowed());
//! let denied = limiter.check_all(epoch, key, Select::All, 1)?;
//! assert!(!denied.allowed());
//! let (tag, usage) = denied.binding();
//! assert_eq!((*tag, usage.retry), (1, Retry::After(Nanos(500_000_000))));
//!
//! clock.advance(Nanos(500_000_000));
//! assert!(limiter.check_all(epoch, key, Select::All, 1)?.allowed());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Choosing an algorithm
//!
//! | [`Algorithm`] | admits at most | memory a key | use it for |
//! | --- | --- | --- | --- |
//! | token bucket | `burst + span * limit / per` in any span | 2 words | nearly everything |
//! | sliding window | `limit` in any period | a 32-bit count for each sub-window | strict limits of any size |
//! | sliding log | `limit` in any period, and not less | 16 bytes for each moment of use | strict limits up to 10,000 |
//! | fixed window | twice `limit` around a boundary | 3 words | quotas of the calendar |
//!
//! # Tour
//!
//! A check passes through these modules, from the outside in:
//!
//! - `limiter`: the public operations. It reads the clock while the cache lines of the key are on their way
//!   (`store::prefetch`).
//! - `store::table`: linear hashing from a key to its stripe, and `store::spin`, the lock of a stripe, which never parks
//!   a thread.
//! - `store::stripe`: the `store::generation` (plan, clock, epoch) under which the stripe is used now.
//! - `store::states`: finds the slot of the key in `store::segment`, or room for a new one within `store::budget`.
//! - `plan`: which words of a slot belong to which window; `plans`: other limits for them.
//! - `algorithm`: pure integer arithmetic on these words. It knows neither clock nor lock.
//!
//! Beside this path: `limiter::once` admits a repeated call without a second charge, `snapshot` describes a state for
//! other stores, [`arithmetic`] is what the shared limiter has in common with this one, [`SingleLimiter`] applies a
//! limit to one key without a table, [`Gate`] bounds how much work runs at once, and [`Top`] knows who
//! calls most.

#![deny(unsafe_code)]

mod algorithm;
pub mod arithmetic;
mod call;
mod clock;
mod error;
mod gate;
mod key;
mod limit;
mod limiter;
mod plan;
mod plans;
mod scale;
mod single;
mod snapshot;
mod stats;
mod store;
mod sync;
mod top;
mod verdict;

pub use call::{Epoch, Once, Receipt, Select, Tag};
pub use clock::{monotonic, utc_ahead, Clock, ManualClock, Nanos};
pub use error::{CallError, LimitError, UpdateError};
pub use gate::{Counts, Entry, Gate, Outcome, Permit, Work};
pub use key::{Key, Seed};
pub use limit::{Algorithm, Limit};
pub use limiter::{Limiter, Options, Planned, DEFAULT_MAX_KEYS};
pub use plan::MAX_WINDOWS;
pub use plans::{Change, Made, Under};
pub use scale::Scale;
pub use single::SingleLimiter;
pub use snapshot::{Import, Join, Known, Snapshot};
pub use stats::{Decisions, Preview, Stats, WindowStats};
pub use top::{Most, Ranked, Top};
pub use verdict::{Answer, Retry, Usage, Usages};
