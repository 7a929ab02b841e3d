//! States of keys, leaving and arriving.

use crate::clock::Nanos;
use crate::key::Key;
use crate::plan::{Select, Tag};
use crate::snapshot::{Join, Known};

use super::{stride, Adopt, Found, Keeper, Tenancy};

impl Keeper {
    /// What the key has used of the selected windows; `None` if it has no state of its own. What those who found no
    /// room took together is nobody's.
    pub(crate) fn export(
        &mut self,
        tenancy: &Tenancy,
        select: Select,
        key: Key,
        now: Nanos,
    ) -> Option<Known> {
        let at = self.segment.find(key, stride(&tenancy.plan))?;
        let offset = tenancy.offset_to_unix;
        let mut windows = Vec::new();
        for window in tenancy.plan.selected(select) {
            self.renew(tenancy, Found::Own(at), window, now);
            let state = window.state(self.slot_at(&tenancy.plan, at));
            if let Some(snapshot) = window.meter.export(state, now, offset) {
                windows.push((window.tag, snapshot));
            }
        }
        Some(Known {
            at: now.saturating_add(offset),
            windows,
        })
    }

    /// Goes on from what is known of the key elsewhere. Returns whether there was room for it.
    pub(crate) fn adopt(
        &mut self,
        tenancy: &Tenancy,
        key: Key,
        known: &Known,
        how: Adopt,
        now: Nanos,
    ) -> bool {
        let plan = &tenancy.plan;
        let mut known = known
            .clone()
            .moved(now.saturating_add(tenancy.offset_to_unix));
        let at = match self.segment.find(key, stride(plan)) {
            Some(at) => at,
            None if known.is_blank() => return true,
            None if !self.has_room(tenancy, now) => return false,
            None => self.place(tenancy, key),
        };
        if how == Adopt::AtLeast {
            // Also what it took along from those who found no room.
            let tags: Vec<Tag> = known.windows.iter().map(|(tag, _)| *tag).collect();
            let own = self.export(tenancy, Select::Tags(&tags), key, now);
            known = known.with(own.as_ref(), Join::Most);
        }
        let heap = self.logs.units();
        let may_grow = !plan.keeps_logs() || !tenancy.shared.budget.is_spent();
        for window in plan.windows() {
            let Some(snapshot) = known.window(window.tag) else {
                continue;
            };
            if how == Adopt::Instead {
                window.meter.clear(window.state(self.slot_at(plan, at)));
            }
            if !snapshot.is_blank() {
                let state = window.state(self.slot_at(plan, at));
                let offset = tenancy.offset_to_unix;
                window.meter.adopt(state, now, offset, snapshot, may_grow);
            }
        }
        tenancy.shared.budget.adjust(heap, self.logs.units());
        self.leave_if_blank(tenancy, at);
        true
    }
}
