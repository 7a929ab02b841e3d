//! The windows of a limiter: immutable, replaced as a whole.

use std::sync::Arc;

use rate_limiter_core::{CallError, Limit, Select, Tag};

use crate::call::WindowCall;
use crate::limiter::SharedUpdateError;
use crate::meter::{Meter, MeterError};

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Counts the changes.
    pub(crate) version: u64,
    pub(crate) windows: Box<[Window]>,
}

#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) tag: Tag,
    pub(crate) limit: Limit,
    name: Box<str>,
    meter: Arc<Meter>,
}

impl Plan {
    pub(crate) fn new(windows: &[(Tag, &str, Limit)]) -> Result<Self, MeterError> {
        let window = |(tag, name, limit): &(Tag, &str, Limit)| {
            Ok(Window {
                tag: *tag,
                limit: limit.clone(),
                name: (*name).into(),
                meter: Arc::new(Meter::new(name, limit)?),
            })
        };
        Ok(Self {
            version: 0,
            windows: windows
                .iter()
                .map(window)
                .collect::<Result<_, MeterError>>()?,
        })
    }

    /// The same plan with another limit for one window.
    pub(crate) fn with_limit(&self, tag: Tag, limit: &Limit) -> Result<Self, SharedUpdateError> {
        let mut plan = self.clone();
        plan.version += 1;
        let mut windows = plan.windows.iter_mut();
        let window = windows
            .find(|window| window.tag == tag)
            .ok_or(CallError::UnknownWindow)?;
        window.meter = Arc::new(Meter::new(&window.name, limit)?);
        window.limit = limit.clone();
        Ok(plan)
    }

    pub(crate) fn limits(&self) -> Vec<(Tag, Limit)> {
        let limit = |window: &Window| (window.tag, window.limit.clone());
        self.windows.iter().map(limit).collect()
    }

    /// The tags of the selected windows, in the plan's order, if they all exist.
    pub(crate) fn tags(&self, select: Select) -> Result<Vec<Tag>, CallError> {
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

    /// The windows of these tags as a call has them.
    pub(crate) fn calls(&self, tags: &[Tag]) -> Box<[WindowCall]> {
        let chosen = self
            .windows
            .iter()
            .filter(|window| tags.contains(&window.tag));
        let call = |window: &Window| WindowCall {
            meter: Arc::clone(&window.meter),
            charge: None,
        };
        chosen.map(call).collect()
    }
}
