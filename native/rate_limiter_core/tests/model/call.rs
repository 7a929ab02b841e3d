//! One call to a limiter or its model.

use rate_limiter_core::{Limit, Tag, Usage};

use super::store::{Id, Model};

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Check(Id, Vec<Tag>, u64),
    Peek(Id, Vec<Tag>, u64),
    Refund(Id, Vec<Tag>, u64),
    Reset(Id, Vec<Tag>),
    Scale(u32),
    Update(Tag, Limit),
    Sweep,
}

impl Model {
    /// The answer at this time; `None` for a call without an answer.
    pub(crate) fn call(&mut self, now: u64, call: &Call) -> Vec<(Tag, Usage)> {
        match call {
            Call::Check(id, tags, cost) => return self.check(now, *id, tags, *cost),
            Call::Peek(id, tags, cost) => return self.peek(now, *id, tags, *cost),
            Call::Refund(id, tags, cost) => return self.refund(now, *id, tags, *cost),
            Call::Reset(id, tags) => self.reset(*id, tags),
            Call::Scale(ppm) => self.set_scale(*ppm),
            Call::Update(tag, limit) => self.update_limit(*tag, limit),
            Call::Sweep => self.sweep(now),
        }
        Vec::new()
    }
}
