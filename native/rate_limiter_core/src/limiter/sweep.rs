//! The sweep: idle keys and notes of calls are forgotten in small steps, and make room for new ones.

use crate::call::{Call, Epoch};
use crate::clock::monotonic;
use crate::error::CallError;
use crate::store::Table;

use super::{Control, Limiter};

/// Slots that can be inspected in the time that a visit of a stripe takes.
pub(super) const VISIT_SLOTS: u64 = 4;

/// Slots that a call inspects in search of room for a new key: some microseconds.
const ROOM_SLOTS: usize = 512;

/// Calls that do not search for room after one that found none, so that a flood costs little.
const BARREN_CALLS: u32 = 32;

impl Limiter {
    /// Forgets idle keys among about `max_slots` slots, and returns how many. The next sweep continues there. Aligned
    /// windows follow UTC if it was set since the last sweep.
    pub fn sweep(&self, epoch: Epoch, max_slots: usize) -> Result<usize, CallError> {
        // A change of the limiter goes first: the next sweep follows soon.
        let Some(mut control) = self.control.try_lock() else {
            return Ok(0);
        };
        self.follow_utc(&mut control, epoch)?;
        self.sweep_step(&mut control, epoch, max_slots)
    }

    fn sweep_step(
        &self,
        control: &mut Control,
        epoch: Epoch,
        max_slots: usize,
    ) -> Result<usize, CallError> {
        let Control {
            sweeping,
            sweeping_notes,
            ..
        } = control;
        let keys = sweep_table(&self.table, sweeping, epoch, max_slots)?;
        let notes = sweep_table(self.notes.table(), sweeping_notes, epoch, max_slots)?;
        Ok(keys + notes)
    }

    /// Returns how to repeat a call whose key found no room, after a step of a sweep. Passes another error on.
    ///
    /// The sweep of the key's own stripe has found nothing, but another stripe may have idle keys, and so may the notes of
    /// calls, which take the same room.
    #[cold]
    pub(super) fn make_room<'a>(
        &self,
        call: &Call<'a>,
        error: CallError,
    ) -> Result<Call<'a>, CallError> {
        if error != CallError::NoRoom {
            return Err(error);
        }
        if let Some(mut control) = self.control.try_lock() {
            if control.barren > 0 {
                control.barren -= 1;
            } else if self.sweep_step(&mut control, Epoch(call.epoch), ROOM_SLOTS)? == 0 {
                control.barren = BARREN_CALLS;
            }
        }
        Ok(Call {
            shares: true,
            ..*call
        })
    }
}

/// Forgets what is idle in a part of a table, from stripe `next` on, and returns how many.
fn sweep_table(
    table: &Table,
    next: &mut usize,
    epoch: Epoch,
    max_slots: usize,
) -> Result<usize, CallError> {
    let now = monotonic();
    let (mut removed, mut looked) = (0, 0_u64);
    for _ in 0..table.len() {
        let number = *next % table.len();
        *next = number + 1;
        looked += table.nth(number, |stripe| {
            // A stripe without slots takes time to visit, too, and a flood of keys leaves thousands of them.
            let slots = stripe.states().slots() as u64 + VISIT_SLOTS;
            removed += stripe.sweep(epoch.0, now)?;
            Ok(slots)
        })?;
        if looked >= max_slots as u64 {
            break;
        }
    }
    Ok(removed)
}
