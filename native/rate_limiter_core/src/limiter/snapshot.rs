//! Export and import of the states of keys.

use crate::call::{Epoch, Select};
use crate::error::CallError;
use crate::key::Key;
use crate::plans::Under;
use crate::snapshot::{Import, Known};

use super::Limiter;

impl Limiter {
    /// Returns what a key has used of the selected windows, for another store to continue from.
    ///
    /// `None` if the key has no state of its own: it was never seen, was idle and has been forgotten, or found no room
    /// and shares a state with others, whose uses cannot be told apart.
    pub fn snapshot(
        &self,
        epoch: Epoch,
        key: Key,
        select: Select,
    ) -> Result<Option<Known>, CallError> {
        self.under(epoch, Under::Own).snapshot(key, select)
    }

    /// Returns the keys of one part of the table, `None` beyond the last one. Counted up from 0, the parts have every key
    /// that has a state of its own and was there at the first of these calls, some of them twice.
    ///
    /// A call for a key of that part waits for less than a microsecond, and no other call does.
    pub fn keys(&self, epoch: Epoch, part: usize) -> Result<Option<Vec<Key>>, CallError> {
        // A split meanwhile moves keys only to a stripe behind the present last one.
        if part >= self.table.len() {
            return Ok(None);
        }
        self.table
            .nth(part, |stripe| stripe.keys(epoch.0))
            .map(Some)
    }

    /// Continues from what another store knows of a key, in the windows that it names. Returns whether it was stored:
    /// not if there is no room for another key.
    ///
    /// The state of another algorithm does not change a window.
    ///
    /// ```
    /// use rate_limiter_core::{Import, Limit, Limiter, Options, Seed, Select};
    /// use std::time::Duration;
    ///
    /// let limits = [(1, Limit::token_bucket(10, Duration::from_mins(1)))];
    /// let (here, epoch) = Limiter::new(&limits, Options::default())?;
    /// let key = Seed::random().key(b"user 7");
    /// here.check(epoch, key, 1, 7)?;
    /// let known = here.snapshot(epoch, key, Select::All)?.expect("a key that has used something");
    ///
    /// let (there, epoch) = Limiter::new(&limits, Options::default())?;
    /// assert!(there.import(epoch, key, &known, Import::AtLeast)?);
    /// assert_eq!(there.peek(epoch, key, 1, 1)?.remaining, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import(
        &self,
        epoch: Epoch,
        key: Key,
        known: &Known,
        how: Import,
    ) -> Result<bool, CallError> {
        self.under(epoch, Under::Own).import(key, known, how)
    }
}
