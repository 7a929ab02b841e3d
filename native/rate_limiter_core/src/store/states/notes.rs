//! The states of notes: see `store::notes`.

use crate::clock::Nanos;
use crate::key::Key;

use super::{stride, Generation, States};

/// A value lies where a bucket has its interval, in 58 bits, so that the time of a note is over as a bucket's debt is.
const VALUE_AT: u32 = 6;

impl States {
    /// Returns the value of a note that holds now.
    pub(crate) fn note(&self, generation: &Generation, name: Key, now: Nanos) -> Option<u64> {
        let at = self.segment.find(name, stride(&generation.plan))?;
        let &[until, value] = self.segment.state(at, 2) else {
            return None;
        };
        (until > now.0).then_some(value >> VALUE_AT)
    }

    /// Writes a note. Returns whether there was room for it.
    pub(crate) fn put_note(
        &mut self,
        generation: &Generation,
        name: Key,
        value: u64,
        until: Nanos,
        now: Nanos,
    ) -> bool {
        let at = match self.segment.find(name, stride(&generation.plan)) {
            Some(at) => at,
            None if !self.has_room(generation, now) => return false,
            None => self.place(generation, name),
        };
        self.segment
            .state_mut(at, 2)
            .copy_from_slice(&[until.0, value << VALUE_AT]);
        true
    }
}
