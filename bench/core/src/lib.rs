//! The common parts of the core's benchmarks: subjects, loads, and the report of a run.
//!
//! Two programs use it. `versus` (the binary) runs the subjects in turns, round by round, and prints one table of
//! medians and ratios: other load of the machine affects all of them alike. The criterion bench `checks` measures one
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
