//! Admitted and denied requests over time, in a bounded number of columns, for a log of unknown length.

/// How many requests were admitted and denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Admitted requests.
    pub admitted: u64,
    /// Denied requests.
    pub denied: u64,
}

impl Decisions {
    pub(super) fn add(&mut self, allowed: bool) {
        if allowed {
            self.admitted += 1;
        } else {
            self.denied += 1;
        }
    }

    fn join(&mut self, other: Self) {
        self.admitted += other.admitted;
        self.denied += other.denied;
    }
}

/// The most columns: a page shows no more of them well.
const MAX_COLUMNS: usize = 300;

/// Common widths, in seconds. Each is a multiple of the one before, so that columns can be joined.
const WIDTHS: [i64; 13] = [
    1, 2, 10, 30, 60, 120, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400,
];

/// Columns of equal width. The first begins at a multiple of the width in the zone of the log. Times never decrease.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    offset_seconds: i64,
    /// In seconds.
    width: i64,
    /// The number of the first column: its start in local seconds, in widths.
    first: Option<i64>,
    columns: Vec<Decisions>,
}

impl Timeline {
    /// `offset_minutes` is the zone of the log, in which days begin.
    pub(crate) fn new(offset_minutes: i16) -> Self {
        Self {
            offset_seconds: i64::from(offset_minutes) * 60,
            width: WIDTHS[0],
            first: None,
            columns: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, unix_ns: u64, allowed: bool) {
        let local = (unix_ns / 1_000_000_000).cast_signed() + self.offset_seconds;
        loop {
            let number = local.div_euclid(self.width);
            let first = *self.first.get_or_insert(number);
            // Times never decrease, so no time is before the first column.
            let at = usize::try_from(number - first).unwrap_or(0);
            if at < MAX_COLUMNS {
                if at >= self.columns.len() {
                    self.columns.resize(at + 1, Decisions::default());
                }
                self.columns[at].add(allowed);
                return;
            }
            self.widen();
        }
    }

    /// Returns the width of a column in seconds.
    pub(crate) fn width_seconds(&self) -> i64 {
        self.width
    }

    /// Returns the start of the first column, in seconds since 1970 in UTC; `None` without a request.
    pub(crate) fn start_seconds(&self) -> Option<i64> {
        Some(self.first? * self.width - self.offset_seconds)
    }

    pub(crate) fn columns(&self) -> &[Decisions] {
        &self.columns
    }

    fn widen(&mut self) {
        let wider = WIDTHS.iter().copied().find(|&width| width > self.width);
        let wider = wider.unwrap_or(self.width * 2);
        let factor = wider / self.width;
        let Some(first) = self.first else { return };
        let new_first = first.div_euclid(factor);
        let mut joined: Vec<Decisions> = Vec::new();
        for (number, &counts) in (first..).zip(&self.columns) {
            let at = usize::try_from(number.div_euclid(factor) - new_first).unwrap_or(0);
            if at >= joined.len() {
                joined.resize(at + 1, Decisions::default());
            }
            joined[at].join(counts);
        }
        self.columns = joined;
        self.first = Some(new_first);
        self.width = wider;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: u64) -> u64 {
        second * 1_000_000_000
    }

    #[test]
    fn days_begin_at_midnight_of_the_log() {
        let mut timeline = Timeline::new(120);
        // 23:00 UTC is 01:00 of the next day at +0200; then a request an hour for three years.
        let start = 1_431_903_600;
        for hour in 0..3 * 365 * 24 {
            timeline.add(at(start + hour * 3_600), hour % 2 == 0);
        }
        assert!(timeline.columns().len() <= MAX_COLUMNS);
        let first = timeline.start_seconds().expect("a first column");
        assert_eq!((first + 7_200).rem_euclid(86_400), 0);
        assert!(first <= 1_431_903_600);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_moved(steps in prop::collection::vec(prop_oneof![0u64..3, 0u64..500, 0u64..10_000_000], 1..200), offset in -720i16..840) {
            let mut timeline = Timeline::new(offset);
            let mut time = 1_400_000_000;
            let mut all = Vec::new();
            for step in steps {
                time += step;
                timeline.add(at(time), step % 3 == 0);
                all.push((time, step % 3 == 0));
            }
            prop_assert!(timeline.columns().len() <= MAX_COLUMNS);
            let start = timeline.start_seconds().expect("a start");
            let mut expected = vec![Decisions::default(); timeline.columns().len()];
            for (time, allowed) in all {
                let column = (time.cast_signed() - start) / timeline.width_seconds();
                expected[usize::try_from(column).expect("after the start")].add(allowed);
            }
            prop_assert_eq!(timeline.columns(), expected.as_slice());
        }
    }
}
