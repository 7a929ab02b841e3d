//! Plays a history on a limiter: turns steps, which are relative to the last answer, into calls.

use std::collections::HashSet;
use std::time::Duration;

use rate_limiter_core::{Algorithm, Limit, Nanos, Retry, Tag, Usage};

use crate::given::{Step, Windows};
use crate::model::Call;
use crate::rig::Rig;

pub(crate) struct Player {
    pub(crate) rig: Rig,
    pub(crate) limits: Vec<(Tag, Limit)>,
    /// The periods that the windows had. None returns to one: `returns` has the laws of that.
    former: HashSet<(Tag, Duration)>,
    last: Usage,
}

impl Player {
    /// A limiter of these windows, tagged from 1 on.
    pub(crate) fn new(limits: &[Limit], start: u64) -> Self {
        Self::with(limits, start, Rig::new)
    }

    pub(crate) fn with(
        limits: &[Limit],
        start: u64,
        make: impl FnOnce(&[(Tag, Limit)]) -> Rig,
    ) -> Self {
        let limits: Vec<(Tag, Limit)> = (1..).zip(limits.iter().cloned()).collect();
        let rig = make(&limits);
        rig.at(start);
        let last = Usage {
            max: 1,
            remaining: 1,
            next_after: Nanos(0),
            reset_after: Nanos(0),
            retry: Retry::Now,
        };
        Self {
            rig,
            limits,
            former: HashSet::new(),
            last,
        }
    }

    /// Takes a step. Returns its call and the answer, if it was a call.
    pub(crate) fn step(&mut self, step: &Step) -> Option<(Call, Vec<(Tag, Usage)>)> {
        let call = self.call(step)?;
        let usages = self.rig.call(&call);
        self.note(&usages);
        Some((call, usages))
    }

    /// Notes an answer, to which later steps are relative.
    pub(crate) fn note(&mut self, usages: &[(Tag, Usage)]) {
        if let Some((_, usage)) = usages.first() {
            self.last = *usage;
        }
    }

    pub(crate) fn tags(&self) -> Vec<Tag> {
        self.limits.iter().map(|(tag, _)| *tag).collect()
    }

    /// Returns the call of a step now. `None` for a step that moves the clock, or is not possible.
    pub(crate) fn call(&mut self, step: &Step) -> Option<Call> {
        let per = self.limits[0].1.per();
        Some(match step {
            Step::Check(id, windows, cost) => {
                Call::Check(*id, self.chosen(*windows), cost.units(&self.last))
            }
            Step::Peek(id, windows, cost) => {
                Call::Peek(*id, self.chosen(*windows), cost.units(&self.last))
            }
            Step::Refund(id, windows, cost) => {
                Call::Refund(*id, self.chosen(*windows), cost.units(&self.last))
            }
            Step::Reset(id, windows) => Call::Reset(*id, self.chosen(*windows)),
            Step::Wait(span) => {
                self.rig.advance(span.nanos(per, &self.last));
                return None;
            }
            Step::Back(span) => {
                let span = span.nanos(per, &self.last);
                self.rig.at(self.rig.now().saturating_sub(span));
                return None;
            }
            Step::Scale(ppm) => Call::Scale(*ppm),
            Step::Update(place, change) => {
                let place = place % self.limits.len();
                let (tag, limit) = &mut self.limits[place];
                let changed = change.of(limit);
                changed.validate().ok()?;
                let is_bucket = matches!(limit.algorithm(), Algorithm::TokenBucket { .. });
                let is_return = self.former.contains(&(*tag, changed.per()));
                if is_return && changed.per() != limit.per() && !is_bucket {
                    return None;
                }
                self.former.insert((*tag, limit.per()));
                *limit = changed.clone();
                Call::Update(*tag, changed)
            }
            Step::Enforce(place, is_enforced) => {
                let place = place % self.limits.len();
                let (tag, limit) = &mut self.limits[place];
                *limit = limit.clone().enforced(*is_enforced);
                Call::Update(*tag, limit.clone())
            }
            Step::Sweep => Call::Sweep,
        })
    }

    fn chosen(&self, windows: Windows) -> Vec<Tag> {
        let places = self.limits.iter().enumerate();
        let chosen = places.filter(|(place, _)| windows >> place & 1 == 1);
        let chosen: Vec<Tag> = chosen.map(|(_, (tag, _))| *tag).collect();
        if chosen.is_empty() {
            return self.tags();
        }
        chosen
    }
}
