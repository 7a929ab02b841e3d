//! The windows of a limiter, and those of its plans: immutable, replaced as a whole.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rate_limiter_core::{CallError, Change, Key, Limit, Scale, Seed, Select, Tag, UpdateError};

use crate::call::WindowCall;
use crate::error::SharedUpdateError;
use crate::meter::{Meter, MeterError};
use crate::request::Limits;

use super::in_flight::MARK_BITS;

/// The limiter's own windows, and other limits for them by name.
#[derive(Clone, Debug)]
pub(super) struct Plans {
    pub(super) own: Plan,
    named: HashMap<Key, (Vec<Change>, Plan)>,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Counts the changes.
    pub(super) version: u64,
    windows: Box<[Window]>,
}

#[derive(Clone, Debug)]
struct Window {
    tag: Tag,
    meter: Arc<Meter>,
    /// Tells its limit from others, alike on all nodes.
    mark: u64,
}

impl Window {
    fn new(tag: Tag, name: &str, limit: &Limit) -> Result<Self, MeterError> {
        let meter = Arc::new(Meter::new(name, limit)?);
        let mut text = name.as_bytes().to_vec();
        text.extend(meter.encode(Scale::ONE));
        let mark = Seed::fixed(0).key(&text).spread() as u64;
        Ok(Self { tag, meter, mark })
    }
}

impl Plans {
    pub(super) fn new(own: Plan) -> Self {
        Self {
            own,
            named: HashMap::new(),
        }
    }

    /// Returns whether there are plans with names.
    pub(super) fn has_names(&self) -> bool {
        !self.named.is_empty()
    }

    /// Returns the plan of these limits.
    #[inline]
    pub(super) fn of(&self, limits: &Limits) -> Result<Cow<'_, Plan>, SharedUpdateError> {
        match limits {
            Limits::Own => Ok(Cow::Borrowed(&self.own)),
            Limits::Plan(name) => match self.named.get(name) {
                Some((_, plan)) => Ok(Cow::Borrowed(plan)),
                None => Err(CallError::UnknownPlan.into()),
            },
            Limits::Changed(changes) => self.own.changed(changes).map(Cow::Owned),
        }
    }

    /// Returns these plans and `new`.
    pub(super) fn with(&self, new: &[(Key, Vec<Change>)]) -> Result<Self, SharedUpdateError> {
        let mut plans = self.clone();
        for (name, changes) in new {
            let plan = self.own.changed(changes)?;
            plans.named.insert(*name, (changes.clone(), plan));
        }
        Ok(plans)
    }

    /// Returns these plans without one; `None` if it does not exist.
    pub(super) fn without(&self, name: Key) -> Option<Self> {
        let mut plans = self.clone();
        plans.named.remove(&name).map(|_| plans)
    }

    /// Returns the same plans with other limits for some windows. A limit of a plan that cannot be kept together with them
    /// stays as it is.
    pub(super) fn with_limits(&self, limits: &[(Tag, Limit)]) -> Result<Self, SharedUpdateError> {
        let mut new = Self::new(self.own.with_limits(limits)?);
        for (name, (changes, plan)) in &self.named {
            let kept = |change: &Change| match new.own.changed(&[*change]) {
                Ok(_) => Some(*change),
                Err(_) => plan.present(change.tag),
            };
            let kept: Vec<Change> = changes.iter().filter_map(kept).collect();
            let plan = new.own.changed(&kept)?;
            new.named.insert(*name, (changes.clone(), plan));
        }
        Ok(new)
    }
}

impl Plan {
    pub(super) fn new(windows: &[(Tag, &str, Limit)]) -> Result<Self, MeterError> {
        let window = |(tag, name, limit): &(Tag, &str, Limit)| Window::new(*tag, name, limit);
        let windows: Result<_, MeterError> = windows.iter().map(window).collect();
        Ok(Self {
            version: 0,
            windows: windows?,
        })
    }

    /// Returns the same plan with other limits for some windows.
    pub(super) fn with_limits(&self, limits: &[(Tag, Limit)]) -> Result<Self, SharedUpdateError> {
        let mut plan = self.clone();
        plan.version += 1;
        for (tag, limit) in limits {
            let mut windows = plan.windows.iter_mut();
            let window = windows
                .find(|window| window.tag == *tag)
                .ok_or(CallError::UnknownWindow)?;
            *window = Window::new(*tag, Arc::clone(&window.meter).name(), limit)?;
        }
        Ok(plan)
    }

    /// Returns the same plan with other limits for some windows.
    pub(super) fn changed(&self, changes: &[Change]) -> Result<Self, SharedUpdateError> {
        changes.iter().try_fold(self.clone(), |plan, change| {
            let mut windows = plan.windows.iter();
            let window = windows
                .find(|window| window.tag == change.tag)
                .ok_or(CallError::UnknownWindow)?;
            let limit = change
                .apply(window.meter.limit())
                .map_err(UpdateError::Limit)?;
            plan.with_limits(&[(change.tag, limit)])
        })
    }

    /// Returns whether the cost is at most what each of these windows, if it is enforced, holds when unused.
    pub(super) fn fits(&self, tags: &[Tag], cost: u64, scale: Scale) -> bool {
        let mut selected = self
            .windows
            .iter()
            .filter(|w| tags.contains(&w.tag) && w.meter.limit().is_enforced());
        selected.all(|window| cost <= window.meter.max(scale))
    }

    /// Returns the present limit of a window as a change of any other.
    fn present(&self, tag: Tag) -> Option<Change> {
        let window = self.windows.iter().find(|window| window.tag == tag)?;
        Some(Change::to(tag, window.meter.limit()))
    }

    /// Returns a number that tells the limits of all windows from others.
    pub(super) fn print(&self) -> u64 {
        self.windows
            .iter()
            .fold(0, |print, window| print.rotate_left(7) ^ window.mark)
    }

    pub(super) fn limits(&self) -> Vec<(Tag, Limit)> {
        let limit = |window: &Window| (window.tag, window.meter.limit().clone());
        self.windows.iter().map(limit).collect()
    }

    /// Returns the tags of the selected windows in the plan's order, or an error if one of them does not exist.
    pub(super) fn tags(&self, select: Select) -> Result<Vec<Tag>, CallError> {
        let all = self.windows.iter().map(|window| window.tag);
        let Select::Tags(tags) = select else {
            return Ok(all.collect());
        };
        let known = |tag| self.windows.iter().any(|window| window.tag == tag);
        if tags.is_empty() || !tags.iter().all(|&tag| known(tag)) {
            return Err(CallError::UnknownWindow);
        }
        Ok(all.filter(|tag| tags.contains(tag)).collect())
    }

    /// Returns some bits that tell the limits of these windows from others, alike on all nodes.
    pub(super) fn mark(&self, tags: &[Tag]) -> u64 {
        let selected = self.windows.iter().filter(|w| tags.contains(&w.tag));
        let marks = selected.fold(0_u64, |marks, window| marks.rotate_left(7) ^ window.mark);
        marks & ((1 << MARK_BITS) - 1)
    }

    /// Returns the windows of these tags as parts of a call.
    pub(super) fn window_calls(&self, tags: &[Tag]) -> Box<[WindowCall]> {
        let selected = self.windows.iter().filter(|w| tags.contains(&w.tag));
        let call = |window: &Window| WindowCall {
            meter: Arc::clone(&window.meter),
            charge: None,
        };
        selected.map(call).collect()
    }
}
