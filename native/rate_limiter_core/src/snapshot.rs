//! The state of a window in a form for other stores, processes and clocks.

mod join;
mod moved;

use crate::call::Tag;
use crate::clock::Nanos;

/// What one window of one key has used, and when, so that another store can continue from it.
///
/// Points in time are counted since 1970 in UTC, whatever clock the state uses. So they mean the same in another store,
/// as exactly as the two clocks agree.
///
/// ```
/// use rate_limiter_core::{Join, Nanos, Snapshot};
///
/// let here = Snapshot::Log { uses: vec![(Nanos(1), 1), (Nanos(5), 3)] };
/// let there = Snapshot::Log { uses: vec![(Nanos(5), 2), (Nanos(7), 1)] };
/// let uses = vec![(Nanos(1), 1), (Nanos(5), 3), (Nanos(7), 1)];
/// assert_eq!(here.with(&there, Join::Most, Nanos(9)), Snapshot::Log { uses });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// The state of a token bucket.
    Bucket {
        /// How far the theoretical arrival time lies ahead of now: the time in which what was used drains at the
        /// configured rate. Rounded up.
        debt: Nanos,
    },
    /// The state of a sliding window.
    Window {
        /// The length of a sub-window.
        width: Nanos,
        /// The number of the newest sub-window: it began `newest * width` after 1970.
        newest: u64,
        /// The count of each sub-window, the newest first.
        counts: Vec<u64>,
    },
    /// The state of a sliding log.
    Log {
        /// The moments of the uses and their units, the oldest first.
        uses: Vec<(Nanos, u64)>,
    },
    /// The state of a fixed window.
    Fixed {
        /// The start of the window.
        start: Nanos,
        /// The length of the window.
        per: Nanos,
        /// The count.
        used: u64,
    },
}

/// The state of a key at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The moment, since 1970 in UTC.
    pub at: Nanos,
    /// The state of each window that has used something.
    pub windows: Vec<(Tag, Snapshot)>,
}

impl Snapshot {
    /// Returns `part` of `whole` of the state, for a store that holds such a part of the limit. Rounded up at every
    /// moment, however many of the uses have left the window: the room that is left is as large, or smaller.
    #[must_use]
    pub fn part(&self, part: u64, whole: u64) -> Self {
        let share = |amount: u64| {
            let exact = u128::from(amount) * u128::from(part);
            u64::try_from(exact.div_ceil(u128::from(whole.max(1)))).unwrap_or(u64::MAX)
        };
        // For counts, the newest first: the share of all counts up to this one, minus the share of those before it.
        let mut total = 0_u64;
        let mut cut = |amount: u64| {
            let before = share(total);
            total = total.saturating_add(amount);
            share(total) - before
        };
        match self {
            Self::Bucket { debt } => Self::Bucket {
                debt: Nanos(share(debt.0)),
            },
            Self::Window {
                width,
                newest,
                counts,
            } => Self::Window {
                width: *width,
                newest: *newest,
                counts: counts.iter().map(|&count| cut(count)).collect(),
            },
            Self::Log { uses } => {
                let parts = uses.iter().rev().map(|&(at, units)| (at, cut(units)));
                let mut kept: Vec<_> = parts.filter(|(_, units)| *units > 0).collect();
                kept.reverse();
                Self::Log { uses: kept }
            }
            Self::Fixed { start, per, used } => Self::Fixed {
                start: *start,
                per: *per,
                used: share(*used),
            },
        }
    }

    /// Returns whether nothing was used.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Bucket { debt } => debt.0 == 0,
            Self::Window { counts, .. } => counts.iter().all(|&count| count == 0),
            Self::Log { uses } => uses.is_empty(),
            Self::Fixed { used, .. } => *used == 0,
        }
    }
}

impl Known {
    /// Returns the state of one window, if it has used something.
    #[must_use]
    pub fn window(&self, tag: Tag) -> Option<&Snapshot> {
        let mut windows = self.windows.iter();
        let found = windows.find(|(other, _)| *other == tag);
        found.map(|(_, state)| state)
    }

    /// Joins each window with the same window of `other`, as of the moment of this state.
    #[must_use]
    pub fn with(&self, other: Option<&Self>, join: Join) -> Self {
        let other = other.cloned().map(|other| other.moved(self.at));
        let mut windows = Vec::new();
        for (tag, state) in &self.windows {
            let joined = match other.as_ref().and_then(|other| other.window(*tag)) {
                Some(there) => state.with(there, join, self.at),
                None => state.clone(),
            };
            windows.push((*tag, joined));
        }
        if matches!(join, Join::Most | Join::Sum) {
            let others = other.into_iter().flat_map(|other| other.windows);
            windows.extend(others.filter(|(tag, _)| self.window(*tag).is_none()));
        }
        windows.retain(|(_, state)| !state.is_blank());
        Self {
            at: self.at,
            windows,
        }
    }

    /// Returns whether nothing was used.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.windows.iter().all(|(_, state)| state.is_blank())
    }
}

/// How two states of one window are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// What at least one of them has used: the larger count of each sub-window or moment.
    Most,
    /// What both have used together.
    Sum,
    /// What the first has used beyond the second.
    Beyond,
}

/// What happens to the state of a key when a snapshot is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    /// The snapshot replaces it.
    Replace,
    /// It stays where it is the stricter one.
    AtLeast,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::collection;
    use proptest::prelude::*;

    const WIDTH: Nanos = Nanos(10);

    fn window(newest: u64, counts: &[u64]) -> Snapshot {
        Snapshot::Window {
            width: WIDTH,
            newest,
            counts: counts.to_vec(),
        }
    }

    fn log(stamps: &[u64]) -> Snapshot {
        let uses = stamps.chunk_by(|one, other| one == other);
        Snapshot::Log {
            uses: uses
                .map(|uses| (Nanos(uses[0]), uses.len() as u64))
                .collect(),
        }
    }

    fn fixed(start: u64, used: u64) -> Snapshot {
        Snapshot::Fixed {
            start: Nanos(start),
            per: Nanos(100),
            used,
        }
    }

    proptest! {
        #[test]
        fn a_part_is_enough_whatever_has_left_the_window(
            counts in collection::vec(0..50_u64, 1..12),
            part in 0..=7_u64,
            more in 0..=7_u64,
        ) {
            let whole = (part + more).max(1);
            let Snapshot::Window { counts: parts, .. } = window(9, &counts).part(part, whole) else {
                panic!("a window");
            };
            let stamps = counts.iter().enumerate().rev().flat_map(|(age, &count)| {
                let at = 1_000 - age as u64;
                (0..count).map(move |_| at)
            });
            let stamps: Vec<u64> = stamps.collect();
            let Snapshot::Log { uses: kept } = log(&stamps).part(part, whole) else {
                panic!("a log");
            };
            for live in 0..=counts.len() {
                let used: u64 = counts[..live].iter().sum();
                let exact = (used * part).div_ceil(whole);
                prop_assert_eq!(parts[..live].iter().sum::<u64>(), exact);
                let after = 1_000 - live as u64;
                let later = kept.iter().filter(|(at, _)| at.0 > after).map(|(_, units)| units);
                prop_assert_eq!(later.sum::<u64>(), exact);
            }
        }

        #[test]
        fn what_one_has_beyond_another_makes_it_up_again(
            here in collection::vec(0..9_u64, 1..6),
            there in collection::vec(0..9_u64, 1..6),
        ) {
            let sum = window(9, &there).with(&window(9, &here), Join::Sum, Nanos(90));
            let beyond = sum.with(&window(9, &there), Join::Beyond, Nanos(90));
            let mut exact = here;
            exact.resize(exact.len().max(there.len()), 0);
            prop_assert_eq!(beyond, window(9, &exact));
        }
    }

    #[test]
    fn sub_windows_meet_by_their_numbers_and_old_ones_are_over() {
        let (older, newer) = (window(7, &[1, 2, 3]), window(9, &[4, 0, 5]));
        let now = Nanos(95);
        assert_eq!(newer.with(&older, Join::Sum, now), window(9, &[4, 0, 6]));
        assert_eq!(older.with(&newer, Join::Most, now), window(9, &[4, 0, 5]));
        assert_eq!(older.with(&newer, Join::Beyond, now), window(9, &[0, 0, 0]));
        // Before the newer window has begun, uses that are too old beside it are live, and count as the oldest.
        let then = Nanos(75);
        assert_eq!(older.with(&newer, Join::Most, then), window(9, &[4, 0, 10]));
    }

    #[test]
    fn uses_of_another_width_count_as_late_as_they_can_have_been() {
        let wide = Snapshot::Window {
            width: Nanos(25),
            newest: 3,
            counts: vec![2, 1],
        };
        // Up to 99 and up to 74: sub-windows 9 and 7 of ten.
        let joined = window(9, &[1, 0, 1]).with(&wide, Join::Sum, Nanos(95));
        assert_eq!(joined, window(9, &[3, 0, 2]));
    }

    #[test]
    fn moments_are_joined_one_by_one() {
        let (here, there) = (log(&[1, 1, 3, 5]), log(&[1, 3, 3, 4]));
        let with = |join| here.with(&there, join, Nanos(9));
        assert_eq!(with(Join::Most), log(&[1, 1, 3, 3, 4, 5]));
        assert_eq!(with(Join::Sum), log(&[1, 1, 1, 3, 3, 3, 4, 5]));
        assert_eq!(with(Join::Beyond), log(&[1, 5]));
    }

    #[test]
    fn a_window_that_is_over_adds_nothing_to_the_next() {
        let (first, second) = (fixed(0, 7), fixed(100, 2));
        let now = Nanos(150);
        assert_eq!(first.with(&second, Join::Sum, now), fixed(100, 2));
        assert_eq!(second.with(&first, Join::Most, now), fixed(100, 2));
        assert_eq!(second.with(&first, Join::Beyond, now), fixed(100, 2));
        // A window that began at another moment, and is still open, does.
        let open = fixed(60, 7);
        assert_eq!(second.with(&open, Join::Sum, now), fixed(100, 9));
        assert_eq!(second.with(&open, Join::Most, now), fixed(100, 7));
    }

    #[test]
    fn a_debt_is_less_later_and_none_stays_none() {
        let known = |debt| Known {
            at: Nanos(100),
            windows: vec![(1, Snapshot::Bucket { debt: Nanos(debt) })],
        };
        let debt = |known: Known| known.window(1).cloned();
        let bucket = |debt| Some(Snapshot::Bucket { debt: Nanos(debt) });
        assert_eq!(debt(known(50).moved(Nanos(120))), bucket(30));
        assert_eq!(debt(known(50).moved(Nanos(90))), bucket(60));
        assert_eq!(debt(known(0).moved(Nanos(90))), bucket(0));
        let both = known(50).with(Some(&known(30).moved(Nanos(120))), Join::Beyond);
        assert_eq!((both.at, debt(both)), (Nanos(100), bucket(20)));
    }
}
