//! Export and import of a log.

use std::collections::VecDeque;

use crate::clock::Nanos;

use super::{Log, SlidingLog, Stamp};

impl SlidingLog {
    /// Returns the moments of the uses that count, since 1970, and their units, the oldest first. `offset` added to the
    /// clock's time is time since 1970.
    pub(crate) fn export(&self, log: &Log, now: Nanos, offset: Nanos) -> Vec<(Nanos, u64)> {
        let gone = log.expired(now, self.per).count();
        let live = log.stamps.iter().skip(gone);
        live.map(|stamp| (stamp.at.saturating_add(offset), stamp.units))
            .collect()
    }

    /// Replaces the log by `uses`, which are since 1970 and in ascending order.
    pub(crate) fn import(&self, log: &mut Log, now: Nanos, offset: Nanos, uses: &[(Nanos, u64)]) {
        let live = uses
            .iter()
            .map(|(at, units)| (at.saturating_sub(offset), *units))
            .filter(|(at, _)| at.saturating_add(self.per) > now);
        let mut grouped: VecDeque<Stamp> = VecDeque::new();
        let mut total = 0;
        for (at, units) in live {
            total = u64::saturating_add(total, units);
            match grouped.back_mut() {
                Some(last) if last.at >= at => last.units = last.units.saturating_add(units),
                _ => grouped.push_back(Stamp { at, units }),
            }
        }
        *log = Log {
            stamps: grouped,
            used: total,
            per: self.per,
        };
    }
}
