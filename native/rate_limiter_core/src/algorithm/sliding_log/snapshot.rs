//! Export and import of a log.

use std::collections::VecDeque;

use crate::clock::Nanos;

use super::{Log, SlidingLog, Stamp};

impl SlidingLog {
    /// Returns the moment of each unit that counts, since 1970, oldest first. `offset` added to the clock's time is
    /// time since 1970.
    pub(crate) fn export(&self, log: &Log, now: Nanos, offset: Nanos) -> Vec<Nanos> {
        let gone = log.expired(now, self.per).count();
        let live = log.stamps.iter().skip(gone);
        live.flat_map(|stamp| (0..stamp.units).map(|_| stamp.at.saturating_add(offset)))
            .collect()
    }

    /// Replaces the log by `stamps`, which are since 1970 and in ascending order. A log that may not grow counts all of
    /// them at the last moment.
    pub(crate) fn import(
        &self,
        log: &mut Log,
        now: Nanos,
        offset: Nanos,
        stamps: &[Nanos],
        may_grow: bool,
    ) {
        let live = stamps
            .iter()
            .map(|stamp| stamp.saturating_sub(offset))
            .filter(|at| at.saturating_add(self.per) > now);
        let mut grouped: VecDeque<Stamp> = VecDeque::new();
        let mut used = 0;
        for at in live {
            used += 1;
            match grouped.back_mut() {
                Some(last) if last.at >= at => last.units += 1,
                Some(last) if !may_grow => {
                    last.at = at;
                    last.units += 1;
                }
                _ => grouped.push_back(Stamp { at, units: 1 }),
            }
        }
        *log = Log {
            stamps: grouped,
            used,
            per: self.per,
        };
    }
}
