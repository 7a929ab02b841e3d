//! The states of all keys: a table in memory, in stripes, each behind a lock of its own.

mod budget;
mod generation;
mod layout;
#[cfg(all(loom, test))]
mod loom_tests;
mod notes;
mod prefetch;
mod segment;
mod spin;
mod states;
mod stripe;
mod table;

pub(crate) use budget::Budget;
pub(crate) use generation::{Accounting, Generation, Totals};
pub(crate) use notes::{Access, Notes};
pub(crate) use spin::SpinLock;
pub(crate) use states::Charge;
pub(crate) use stripe::Stripe;
pub(crate) use table::Table;
