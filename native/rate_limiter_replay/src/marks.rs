//! What a limit did to one id over the span of the log.

use crate::events::ById;
use crate::fit::Fitting;
use crate::timeline::Decisions;

/// As many marks as fit beside the numbers of an id.
const COLUMNS: usize = 48;

/// Checks the requests of single ids again. An id has a limit of its own, so the decisions are those of the replay.
pub(crate) struct Marks<'a> {
    pub(crate) fitting: Fitting<'a>,
    pub(crate) events: &'a ById,
    /// The times of the first and the last request of the log.
    pub(crate) span: (u64, u64),
}

impl Marks<'_> {
    /// Returns the decisions about an id, in columns of equal width.
    pub(crate) fn of(&mut self, id: u32) -> Vec<Decisions> {
        let (first, last) = self.span;
        let width = (last - first) / COLUMNS as u64 + 1;
        let mut marks = vec![Decisions::default(); COLUMNS];
        let history = self.events.history(id as usize);
        self.fitting.decide(&history, |time, admitted| {
            let column = (time - first) / width;
            marks[usize::try_from(column).unwrap_or(0)].add(admitted);
        });
        marks
    }
}
