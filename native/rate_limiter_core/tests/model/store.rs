//! Many keys with several windows each: a map.

use std::collections::HashMap;

use rate_limiter_core::{Limit, Nanos, Retry, Tag, Usage};

use super::{Window, ONE};

pub(crate) type Id = u64;

#[derive(Clone, Debug)]
pub(crate) struct Model {
    limits: Vec<(Tag, Limit)>,
    ppm: u32,
    keys: HashMap<Id, Vec<Window>>,
}

impl Model {
    pub(crate) fn new(limits: &[(Tag, Limit)]) -> Self {
        Self {
            limits: limits.to_vec(),
            ppm: ONE,
            keys: HashMap::new(),
        }
    }

    /// Takes from all of these windows, or from none. Returns the usage of each, in the order of the limits.
    pub(crate) fn check(&mut self, now: u64, id: Id, tags: &[Tag], cost: u64) -> Vec<(Tag, Usage)> {
        let usages = self.peek(now, id, tags, cost);
        if usages.iter().all(|(_, usage)| usage.allowed()) && cost > 0 {
            let ppm = self.ppm;
            // A window in shadow mode admits what it would deny, and does not count it.
            let taking = usages.iter().filter(|(_, usage)| {
                matches!(usage.retry, Retry::Now | Retry::Unenforced(Nanos(0)))
            });
            let taking: Vec<Tag> = taking.map(|(tag, _)| *tag).collect();
            self.each(now, id, &taking, |window| window.take(now, cost, ppm));
        }
        usages
    }

    pub(crate) fn peek(&mut self, now: u64, id: Id, tags: &[Tag], cost: u64) -> Vec<(Tag, Usage)> {
        let asked = self.ask(now, id, tags, cost);
        if asked.iter().all(|(_, usage)| usage.allowed()) {
            return asked;
        }
        // Nothing is taken, so the windows that admit the call report what they have.
        let free = self.ask(now, id, tags, 0);
        let chosen = asked.into_iter().zip(free);
        chosen
            .map(|(asked, free)| if asked.1.allowed() { free } else { asked })
            .collect()
    }

    pub(crate) fn refund(
        &mut self,
        now: u64,
        id: Id,
        tags: &[Tag],
        cost: u64,
    ) -> Vec<(Tag, Usage)> {
        self.each(now, id, tags, |window| window.refund(now, cost));
        self.ask(now, id, tags, 0)
    }

    pub(crate) fn reset(&mut self, id: Id, tags: &[Tag]) {
        let limits = &self.limits;
        if let Some(windows) = self.keys.get_mut(&id) {
            for ((tag, limit), window) in limits.iter().zip(windows) {
                if tags.contains(tag) {
                    *window = Window::new(limit);
                }
            }
        }
    }

    pub(crate) fn update_limit(&mut self, tag: Tag, limit: &Limit) {
        let mut named = self.limits.iter_mut().filter(|(known, _)| *known == tag);
        named.next().expect("a window of the model").1 = limit.clone();
    }

    pub(crate) fn set_scale(&mut self, ppm: u32) {
        self.ppm = ppm;
    }

    /// Forgets the keys that have nothing in use.
    pub(crate) fn sweep(&mut self, now: u64) {
        let unused = |windows: &Vec<Window>| windows.iter().all(|window| window.is_unused(now));
        self.keys.retain(|_, windows| !unused(windows));
    }

    /// Returns how many keys it remembers: those with a call and a use that still counts.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    fn ask(&mut self, now: u64, id: Id, tags: &[Tag], cost: u64) -> Vec<(Tag, Usage)> {
        let ppm = self.ppm;
        let mut asked = self.each(now, id, tags, |window| window.ask(now, cost, ppm));
        for (tag, usage) in &mut asked {
            let limit = self.limits.iter().find(|(known, _)| known == tag);
            if !limit.expect("a window of the model").1.is_enforced() {
                usage.retry = Retry::Unenforced(match usage.retry {
                    Retry::Never => Nanos(u64::MAX),
                    Retry::After(wait) => wait,
                    _ => Nanos(0),
                });
            }
        }
        asked
    }

    /// Touches these windows of a key.
    fn each<R>(
        &mut self,
        now: u64,
        id: Id,
        tags: &[Tag],
        mut visit: impl FnMut(&mut Window) -> R,
    ) -> Vec<(Tag, R)> {
        let limits = &self.limits;
        let fresh = || limits.iter().map(|(_, limit)| Window::new(limit)).collect();
        let windows = self.keys.entry(id).or_insert_with(fresh);
        let all = limits.iter().zip(windows);
        let selected = all.filter(|((tag, _), _)| tags.contains(tag));
        selected
            .map(|((tag, limit), window)| {
                window.touch(limit, now);
                (*tag, visit(window))
            })
            .collect()
    }
}
