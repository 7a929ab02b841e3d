//! The states of local limiters in a file, so that they survive a restart.
//!
//! A checkpoint is written beside the calls of its limiters: it locks one stripe of a table at a time to list its keys, then
//! each key for as long as a call does. So it is not the state of one moment, but each key's state is one that the key
//! had while it was written.
//!
//! # Format
//!
//! A file begins with [`MAGIC`] and a version. Sections follow, each compressed with LZ4, and each with a checksum that
//! covers all sections before it, so that a lost or moved one is noticed as well as a changed byte:
//!
//! | section | content |
//! | --- | --- |
//! | head | the instance, the secret under which ids were hashed, and the time in UTC |
//! | limiter | its name, and the name and the limit of each of its windows |
//! | rows | keys of the limiter before, with what each has used of each window, as [`Snapshot`](rate_limiter_core::Snapshot)s |
//! | end | the number of rows |
//!
//! Integers are LEB128. Points in time are nanoseconds since 1970 in UTC, since a monotonic clock means nothing after a
//! restart.
//!
//! Keys are hashes, and hashes do not compress, so a file is nearly as large as its keys. What compresses are the counts of
//! sliding windows and the moments of logs. Hence the faster of two codecs, see `ARCHITECTURE.md`.

#![deny(unsafe_code)]

mod bytes;
mod error;
mod folder;
mod member;
mod read;
mod record;
mod restore;
mod save;
mod section;
mod write;

pub use error::Error;
pub use folder::Folder;
pub use member::Member;
pub use read::{Part, Reader, Rows};
pub use record::{Described, Head};
pub use restore::{Outcome, Refused, Restored};
pub use save::Saved;
pub use section::MAGIC;
pub use write::Writer;
