//! Exact rate limits in memory, for any number of keys and threads.
//!
//! A [`Limiter`] has one or more windows, each a [`Limit`] with an [`Algorithm`]. It is asked about a [`Key`], the hash
//! of an id under a secret [`Seed`], and answers with a [`Usage`]: allowed or not, how much is left, when to come back.
//!
//! What to know before choosing it: state is in this process alone; ids are not kept, so keys cannot be listed; a
//! window's algorithm cannot be changed without forgetting what was used; and the number of keys is capped, beyond
//! which newcomers may be denied too early (never admitted too often).
//!
//! Inside, from the outside in: [`Limiter`] finds the key's shard and takes its lock, which never parks a thread; the
//! shard's states finds the key's slot; the window's meter, pure integer arithmetic, judges the slot's words.

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
mod scale;
mod single;
mod snapshot;
mod stats;
mod store;
mod sync;
mod verdict;

pub use call::{Epoch, Once, Select, Tag};
pub use clock::{monotonic, Clock, ManualClock, Nanos};
pub use error::{CallError, LimitError, UpdateError};
pub use gate::{Counts, Entry, Gate, Outcome, Permit, Work};
pub use key::{Key, Seed};
pub use limit::{Algorithm, Limit};
pub use limiter::{Limiter, Options, DEFAULT_MAX_KEYS};
pub use plan::MAX_WINDOWS;
pub use scale::Scale;
pub use single::SingleLimiter;
pub use snapshot::{Import, Join, Known, Snapshot};
pub use stats::Stats;
pub use verdict::{Answer, Retry, Usage};
