//! Where states live: a table in memory, in stripes, each behind a lock of its own.

mod budget;
mod hint;
mod keeper;
#[cfg(all(loom, test))]
mod loom_tests;
mod names;
mod segment;
mod spin;
mod stripe;
mod table;
mod tenancy;

pub(crate) use budget::{Budget, UNIT_BYTES};
pub use keeper::Adopt;
pub(crate) use names::Names;
pub(crate) use segment::Slot;
pub(crate) use stripe::{Ask, Stripe};
pub(crate) use table::Table;
pub(crate) use tenancy::{Shared, Tenancy, Totals};
