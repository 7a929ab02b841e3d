//! Laws that every limit must keep, tried on random histories and against a naive model.
//!
//! `PROPTEST_CASES` sets how many histories each law is tried on; a failing one is printed at its shortest.

#[path = "../model/mod.rs"]
mod model;
#[path = "../rig/mod.rs"]
mod rig;

mod capacity;
mod counts;
mod curves;
mod defects;
mod equal;
mod extremes;
mod given;
mod keeping;
mod keys;
mod lifetime;
mod once;
mod overflow;
mod plans;
mod player;
mod receipts;
mod retry;
mod returns;
mod snapshot;
mod top;
