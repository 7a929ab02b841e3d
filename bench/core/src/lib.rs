//! What the benchmarks of the core share: the subjects, the loads that they are put under, and how a run is told.
//!
//! Two programs use it. `versus` (the binary) takes turns between the subjects, round by round, and prints one table of
//! medians and ratios: what else the machine does falls on all of them alike. The criterion bench `checks` looks at one
//! subject after the other, with criterion's statistics.

mod case;
mod load;
mod machine;
mod peer;
mod rounds;
mod subject;
mod table;
mod target;

pub use case::{cases, Case, Contender, BASE, LOOP};
pub use load::{ids, Load};
pub use machine::Machine;
pub use rounds::{measure, Figures};
pub use table::Table;
pub use target::{judge, Verdict};
