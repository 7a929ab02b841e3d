//! A log's stamps, leaving and arriving.

use std::collections::VecDeque;

use crate::clock::Nanos;

use super::{Log, SlidingLog, Stamp};

impl SlidingLog {
    /// The moment of each unit that counts, since 1970, oldest first. `offset` is what turns the clock's time into that.
    pub(crate) fn export(&self, log: &Log, now: Nanos, offset: Nanos) -> Vec<Nanos> {
        let gone = log.expired(now, self.per).count();
        let live = log.stamps.iter().skip(gone);
        live.flat_map(|stamp| (0..stamp.units).map(|_| stamp.at.saturating_add(offset)))
            .collect()
    }

    /// Has used what `stamps` say, since 1970 and in ascending order. Where the log may not grow, all of it as late as
    /// the last.
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
