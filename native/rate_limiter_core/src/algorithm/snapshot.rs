//! Export and import of states.

use crate::clock::Nanos;
use crate::snapshot::Snapshot;

use super::{Meter, State};

impl Meter {
    /// Returns what counts as used now, of a renewed state; `None` if nothing does. `offset` added to the clock's time
    /// is time since 1970.
    pub(crate) fn export(&self, state: State, now: Nanos, offset: Nanos) -> Option<Snapshot> {
        let State { words, logs } = state;
        match self {
            Self::TokenBucket(gcra) => {
                let debt = gcra.export(words, now);
                (debt.0 > 0).then_some(Snapshot::Bucket { debt })
            }
            Self::SlidingWindow(window) => window.export(words, now, offset),
            Self::SlidingLog(log) => {
                let uses = log.export(logs.get(words), now, offset);
                (!uses.is_empty()).then_some(Snapshot::Log { uses })
            }
            Self::FixedWindow(window) => window.export(words, now),
        }
    }

    /// Replaces the state by a snapshot as of now. The snapshot of another algorithm changes nothing.
    pub(crate) fn import(&self, state: State, now: Nanos, offset: Nanos, snapshot: &Snapshot) {
        let State { words, logs } = state;
        match (self, snapshot) {
            (Self::TokenBucket(gcra), Snapshot::Bucket { debt }) => gcra.import(words, now, *debt),
            (
                Self::SlidingWindow(window),
                Snapshot::Window {
                    width,
                    newest,
                    counts,
                },
            ) => window.import(words, now, offset, (*width, *newest, counts)),
            (Self::SlidingLog(log), Snapshot::Log { uses }) => {
                logs.update(words, |into| log.import(into, now, offset, uses));
            }
            (Self::FixedWindow(window), Snapshot::Fixed { start, per, used }) => {
                window.import(words, now, (*start, *per, *used));
            }
            _ => (),
        }
    }
}
