//! A caller that waits, and may stop waiting.

use std::sync::atomic::{AtomicU8, Ordering};

use rustler::{Atom, NifResult, Resource, ResourceArc};

use crate::atoms;
use crate::guard::guard;

/// Who was first: the answer or the end of the caller's patience. Exactly one of them is.
pub(super) struct Ticket(AtomicU8);

const WAITING: u8 = 0;
const TOLD: u8 = 1;
const LEFT: u8 = 2;

#[rustler::resource_impl]
impl Resource for Ticket {}

impl Ticket {
    pub(super) fn new() -> ResourceArc<Self> {
        ResourceArc::new(Self(AtomicU8::new(WAITING)))
    }

    /// Whether the caller still waits: then it is told, and does not leave without.
    pub(super) fn tell(&self) -> bool {
        self.settle(TOLD)
    }

    /// Whether the caller is told nothing any more.
    fn leave(&self) -> bool {
        self.settle(LEFT) || self.0.load(Ordering::Acquire) == LEFT
    }

    fn settle(&self, how: u8) -> bool {
        self.0
            .compare_exchange(WAITING, how, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// Waits no longer: `:left`, and no message will come; or `:told`, and it has come or is about to.
#[rustler::nif]
fn remote_cancel(ticket: ResourceArc<Ticket>) -> NifResult<Atom> {
    guard(|| {
        Ok(if ticket.leave() {
            atoms::left()
        } else {
            atoms::told()
        })
    })
}
