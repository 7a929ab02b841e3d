//! The windows of a limiter: immutable, replaced as a whole.

use std::sync::Arc;

use rate_limiter_core::{CallError, Limit, Scale, Seed, Select, Tag};

use crate::call::WindowCall;
use crate::error::SharedUpdateError;
use crate::meter::{Meter, MeterError};

use super::in_flight::MARK_BITS;

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
