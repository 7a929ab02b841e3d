//! A case: a limiter, and its answers to one call after the other.

use rate_limiter_core::{Limit, Tag, Usage};

use crate::model::Call;

/// The answer of each window.
pub(crate) type Asked = Vec<(Tag, Usage)>;

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) start_ms: u64,
    /// The windows' names; a window's tag is its place here.
    pub(crate) names: Vec<String>,
    pub(crate) limits: Vec<(Tag, Limit)>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) at_ms: u64,
    pub(crate) call: Call,
    /// As in the file: empty for a call without an answer.
    pub(crate) expected: String,
}

/// The place of the window of a tag in its case.
pub(crate) fn place(tag: Tag) -> usize {
    usize::try_from(tag).expect("few windows")
}
