//! What a caller states of a call.

use crate::clock::Nanos;
use crate::key::Key;
use crate::plans::Under;
use crate::scale::Scale;

/// The number by which a caller names a window, for instance that of an interned name.
pub type Tag = u64;

/// The windows of a limiter that a call is about.
#[derive(Clone, Copy, Debug)]
pub enum Select<'a> {
    /// All windows.
    All,
    /// The windows with these tags.
    Tags(&'a [Tag]),
}

/// The id of a call, so that a repeated call is not charged again: see
/// [`Limiter::check_once`](crate::Limiter::check_once).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// The hash of the id that the caller gave the call, unique for the call's key.
    pub id: Key,
    /// How long the id is remembered.
    pub keep: Nanos,
}

/// Names an admitted call among those of its key, so that what still counts of it can be given back: see
/// [`Limiter::give_back`](crate::Limiter::give_back).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// When it was charged, by the limiter's clock.
    pub at: Nanos,
    /// Its number among the checks of its key; 0 if nothing was charged.
    pub serial: u64,
}

/// Identifies one opening of a limiter, so that a late call never reaches a limiter that was opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub(crate) u32);

impl Epoch {
    /// Returns the epoch as a number, for a handle.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Returns the epoch of a handle's number.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A call, without its windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) epoch: u32,
    pub(crate) key: Key,
    pub(crate) cost: u64,
    pub(crate) scale: Scale,
    /// The monotonic clock, read before the lock was taken.
    pub(crate) monotonic: Nanos,
    /// Whether the cost is taken if all windows admit the call.
    pub(crate) takes: bool,
    /// The plan under which it is decided.
    pub(crate) under: Under<'a>,
    /// Whether a new key without room is judged together with others. If not, the call ends with
    /// [`CallError::NoRoom`](crate::CallError::NoRoom), and has taken nothing.
    pub(crate) shares: bool,
}
