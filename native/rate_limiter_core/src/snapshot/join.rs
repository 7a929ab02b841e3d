//! Joins states: each sub-window, moment or debt by itself.

use crate::clock::Nanos;

use super::{Join, Snapshot};

impl Snapshot {
    /// Joins this state with `other`, a state of the same window. Both are as of `now`.
    ///
    /// If `other` was written under another period, its uses count as late as they can have been. States of different
    /// algorithms cannot be joined: the result is this one.
    #[must_use]
    pub fn with(&self, other: &Self, join: Join, now: Nanos) -> Self {
        match (self, other) {
            (Self::Bucket { debt }, Self::Bucket { debt: there }) => Self::Bucket {
                debt: Nanos(join.of(debt.0, there.0)),
            },
            (
                Self::Window {
                    width,
                    newest,
                    counts,
                },
                Self::Window {
                    width: there_width,
                    newest: there_newest,
                    counts: there,
                },
            ) => {
                let here = SubWindows::new(*newest, counts);
                let there = if width == there_width {
                    SubWindows::new(*there_newest, there)
                } else {
                    SubWindows::new(*there_newest, there).regrid(*there_width, *width)
                };
                let present = now.0 / width.0.max(1);
                here.with(&there, join, present).into_window(*width)
            }
            (Self::Log { uses }, Self::Log { uses: there }) => Self::Log {
                uses: with_uses(uses, there, join),
            },
            (
                Self::Fixed { start, per, used },
                Self::Fixed {
                    start: there_start,
                    per: there_per,
                    used: there_used,
                },
            ) => {
                let here = (*start, *per, *used);
                with_fixed(here, (*there_start, *there_per, *there_used), join, now)
            }
            _ => self.clone(),
        }
    }
}

impl Join {
    fn of(self, here: u64, there: u64) -> u64 {
        match self {
            Self::Most => here.max(there),
            Self::Sum => here.saturating_add(there),
            Self::Beyond => here.saturating_sub(there),
        }
    }
}

/// Counts of sub-windows, the newest first.
struct SubWindows {
    newest: u64,
    counts: Vec<u64>,
}

impl SubWindows {
    fn new(newest: u64, counts: &[u64]) -> Self {
        Self {
            newest,
            counts: counts.to_vec(),
        }
    }

    fn at(&self, number: u64) -> u64 {
        let age = self.newest.checked_sub(number);
        let age = age.and_then(|age| usize::try_from(age).ok());
        age.and_then(|age| self.counts.get(age).copied())
            .unwrap_or(0)
    }

    /// Returns the number of the oldest sub-window; there must be one.
    fn oldest(&self) -> u64 {
        self.newest
            .saturating_sub((self.counts.len() as u64).saturating_sub(1))
    }

    /// Joins the sub-windows of both that still count in the `present` one.
    fn with(&self, other: &Self, join: Join, present: u64) -> Self {
        let newest = self.newest.max(other.newest);
        let length = self.counts.len().max(other.counts.len());
        let mut counts = vec![0_u64; length];
        let mut numbers: Vec<u64> = self.numbers().chain(other.numbers()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let live = present.saturating_sub((length as u64).saturating_sub(1));
        for number in numbers.into_iter().filter(|&number| number >= live) {
            // If one of them is ahead of the present, since the clock was set back, sub-windows that are too old beside
            // it are still live, and count as the oldest.
            let age = usize::try_from(newest - number).unwrap_or(usize::MAX);
            let joined = join.of(self.at(number), other.at(number));
            if let Some(into) = counts.get_mut(age.min(length.saturating_sub(1))) {
                *into = into.saturating_add(joined);
            }
        }
        Self { newest, counts }
    }

    fn numbers(&self) -> std::ops::RangeInclusive<u64> {
        self.oldest()..=self.newest
    }

    /// Converts to sub-windows of another width. Each use counts in the last one in which it can have been.
    fn regrid(&self, from: Nanos, to: Nanos) -> Self {
        let (from, to) = (from.0.max(1), to.0.max(1));
        let number = |old: u64| old.saturating_mul(from).saturating_add(from - 1) / to;
        let newest = number(self.newest);
        let span = newest - number(self.oldest());
        // At most as many as a window has, whatever the ratio of the two widths.
        let length = span.min(crate::algorithm::MAX_SUB_WINDOWS.into()) + 1;
        let mut counts = vec![0_u64; usize::try_from(length).unwrap_or(1)];
        for old in self.numbers() {
            let age = usize::try_from(newest - number(old)).unwrap_or(usize::MAX);
            if let Some(into) = counts.get_mut(age) {
                *into = into.saturating_add(self.at(old));
            }
        }
        Self { newest, counts }
    }

    fn into_window(self, width: Nanos) -> Snapshot {
        Snapshot::Window {
            width,
            newest: self.newest,
            counts: self.counts,
        }
    }
}

/// Joins two ascending lists of uses: each moment has as many units as `join` returns for those of both.
fn with_uses(here: &[(Nanos, u64)], there: &[(Nanos, u64)], join: Join) -> Vec<(Nanos, u64)> {
    let (mut here, mut there) = (here.iter().peekable(), there.iter().peekable());
    let mut joined = Vec::new();
    loop {
        let next = match (here.peek(), there.peek()) {
            (Some(&&(one, _)), Some(&&(other, _))) => one.min(other),
            (Some(&&(one, _)), None) | (None, Some(&&(one, _))) => one,
            (None, None) => return joined,
        };
        let units = |uses: &mut std::iter::Peekable<std::slice::Iter<(Nanos, u64)>>| {
            let mut sum = 0_u64;
            while let Some((_, units)) = uses.next_if(|(at, _)| *at == next) {
                sum = sum.saturating_add(*units);
            }
            sum
        };
        let units = join.of(units(&mut here), units(&mut there));
        if units > 0 {
            joined.push((next, units));
        }
    }
}

/// Joins two fixed windows. The count of the earlier window counts in the later one while the earlier is open.
fn with_fixed(
    here: (Nanos, Nanos, u64),
    there: (Nanos, Nanos, u64),
    join: Join,
    now: Nanos,
) -> Snapshot {
    let fixed = |(start, per, used)| Snapshot::Fixed { start, per, used };
    let (start, per, used) = here;
    if (start, per) == (there.0, there.1) {
        return fixed((start, per, join.of(used, there.2)));
    }
    let later = if there.0 > start { there } else { here };
    let earlier = if there.0 > start { here } else { there };
    let is_open = earlier.0.saturating_add(earlier.1) > now;
    let before = if is_open { earlier.2 } else { 0 };
    match join {
        Join::Most => fixed((later.0, later.1, later.2.max(before))),
        Join::Sum => fixed((later.0, later.1, later.2.saturating_add(before))),
        Join::Beyond => fixed(here),
    }
}
