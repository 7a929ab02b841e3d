//! The windows of a limiter, and the place of each window's state in a slot.

use std::ops::Range;

use crate::algorithm::{Logs, Meter, State};
use crate::call::{Select, Tag};
use crate::clock::Nanos;
use crate::error::{CallError, LimitError};
use crate::limit::Limit;
use crate::scale::Scale;

/// The most windows of a limiter.
pub const MAX_WINDOWS: usize = 32;

/// The windows of a limiter: immutable, and replaced as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    windows: Box<[Window]>,
    /// Zeros: the state of a key that has used nothing.
    blank: Box<[u64]>,
    keeps_logs: bool,
    /// Whether no state lies on the heap, and every limit is enforced.
    is_plain: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) tag: Tag,
    pub(crate) limit: Limit,
    pub(crate) meter: Meter,
    /// Its place in the plan.
    pub(crate) index: usize,
    start: usize,
    end: usize,
}

impl Window {
    /// Returns the words of a slot that hold this window's state.
    #[inline]
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Returns the most that can be taken at once.
    pub(crate) fn max(&self, scale: Scale) -> u64 {
        let blank = vec![0; self.meter.words()];
        let usage = self
            .meter
            .decide(&blank, &Logs::default(), Nanos(0), 0, scale);
        usage.max
    }

    #[inline]
    pub(crate) fn state<'a>(&self, slot: State<'a>) -> State<'a> {
        let State { words, logs } = slot;
        State {
            words: &mut words[self.range()],
            logs,
        }
    }
}

impl Plan {
    pub(crate) fn new(limits: &[(Tag, Limit)], offset_to_unix: Nanos) -> Result<Self, LimitError> {
        if limits.is_empty() || limits.len() > MAX_WINDOWS {
            return Err(LimitError::Windows {
                windows: limits.len(),
                max: MAX_WINDOWS,
            });
        }
        let mut windows: Vec<Window> = Vec::with_capacity(limits.len());
        let mut start = 0;
        for (tag, limit) in limits {
            if windows.iter().any(|window| window.tag == *tag) {
                return Err(LimitError::DuplicateWindow);
            }
            let meter = Meter::new(limit, offset_to_unix)?;
            let end = start + meter.words();
            windows.push(Window {
                tag: *tag,
                limit: limit.clone(),
                meter,
                index: windows.len(),
                start,
                end,
            });
            start = end;
        }
        let keeps_logs = windows.iter().any(|window| window.meter.keeps_log());
        let mut plan = Self {
            windows: windows.into(),
            blank: vec![0; start].into(),
            keeps_logs,
            is_plain: false,
        };
        plan.set_plain();
        Ok(plan)
    }

    fn set_plain(&mut self) {
        let mut windows = self.windows.iter();
        self.is_plain = !self.keeps_logs && windows.all(|window| window.limit.is_enforced());
    }

    /// Returns the plan with other limits for some windows, whose states must stay readable.
    pub(crate) fn with_limits(
        &self,
        limits: &[(Tag, Limit)],
        offset_to_unix: Nanos,
    ) -> Result<Self, LimitError> {
        let mut plan = self.clone();
        for (tag, limit) in limits {
            let meter = Meter::new(limit, offset_to_unix)?;
            for window in plan.windows.iter_mut().filter(|window| window.tag == *tag) {
                if !meter.has_shape_of(&window.meter) {
                    return Err(LimitError::ShapeChanged);
                }
                window.limit = limit.clone();
                window.meter = meter.clone();
            }
        }
        plan.set_plain();
        Ok(plan)
    }

    /// Returns the plan with another distance to UTC.
    pub(crate) fn with_offset(&self, offset_to_unix: Nanos) -> Self {
        let mut plan = self.clone();
        for window in &mut plan.windows {
            window.meter.set_offset(offset_to_unix);
        }
        plan
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Returns how many words of state a slot has.
    pub(crate) fn state_words(&self) -> usize {
        self.blank.len()
    }

    /// Returns the state of a key that has used nothing.
    pub(crate) fn blank(&self) -> &[u64] {
        &self.blank
    }

    /// Returns whether some state lies partly on the heap.
    #[inline]
    pub(crate) fn keeps_logs(&self) -> bool {
        self.keeps_logs
    }

    /// Returns whether a call for a known key is decided by the words of its slot alone.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    #[inline]
    pub(crate) fn window(&self, tag: Tag) -> Result<&Window, CallError> {
        match &*self.windows {
            [first, ..] if first.tag == tag => Ok(first),
            [_, others @ ..] => others
                .iter()
                .find(|window| window.tag == tag)
                .ok_or(CallError::UnknownWindow),
            [] => Err(CallError::UnknownWindow),
        }
    }

    /// Returns an error if a selected window does not exist.
    pub(crate) fn covers(&self, select: Select) -> Result<(), CallError> {
        match select {
            Select::All => Ok(()),
            Select::Tags([]) => Err(CallError::UnknownWindow),
            Select::Tags(tags) => tags.iter().try_for_each(|&tag| self.window(tag).map(drop)),
        }
    }

    /// Returns the selected windows, in the order of the plan.
    pub(crate) fn selected<'a>(&'a self, select: Select<'a>) -> impl Iterator<Item = &'a Window> {
        self.windows.iter().filter(move |window| match select {
            Select::All => true,
            Select::Tags(tags) => tags.contains(&window.tag),
        })
    }
}
