//! The most frequent keys of a stream, in bounded memory: the algorithm Space-Saving (Metwally, Agrawal and El Abbadi:
//! Efficient Computation of Frequent and Top-k Elements in Data Streams, ICDT 2005).
//!
//! Each of `capacity` rows counts one key. A key without a row takes the row of a least count, continues that count, and
//! keeps it as the error that its own count may have. With `total` keys counted, the least count is at most
//! `total / capacity`, since all counts sum up to `total`. So a row's count is never less than the truth, count minus
//! error never more, and a key without a row occurred at most `total / capacity` times.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::key::Key;

#[derive(Debug)]
pub(super) struct Summary {
    capacity: usize,
    rows: Vec<Row>,
    places: HashMap<Key, usize, BuildHasherDefault<KeyHasher>>,
    /// No count of a full summary is less.
    least: u64,
    /// In the rows before it, all counts are above `least`.
    cursor: usize,
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) count: u64,
    pub(super) error: u64,
    pub(super) label: Option<Box<[u8]>>,
}

impl Summary {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            rows: Vec::new(),
            places: HashMap::default(),
            least: 0,
            cursor: 0,
        }
    }

    /// Counts a key once. Calls `label` only if the key gets a row.
    #[inline]
    pub(super) fn add(&mut self, key: Key, label: impl FnOnce() -> Option<Box<[u8]>>) {
        if let Some(&at) = self.places.get(&key) {
            self.rows[at].count += 1;
        } else {
            self.insert(key, label());
        }
    }

    fn insert(&mut self, key: Key, label: Option<Box<[u8]>>) {
        let full = self.rows.len() >= self.capacity;
        let error = if full { self.find_least() } else { 0 };
        let row = Row {
            key,
            count: error + 1,
            error,
            label,
        };
        if full {
            let last = std::mem::replace(&mut self.rows[self.cursor], row);
            self.places.remove(&last.key);
            self.places.insert(key, self.cursor);
        } else {
            self.places.insert(key, self.rows.len());
            self.rows.push(row);
        }
    }

    /// Moves the cursor to a row of the least count, and returns that.
    ///
    /// A count never falls, so the cursor passes each row once for each value of `least`, which is at most
    /// `total / capacity`: each key that is counted pays for a constant number of rows.
    fn find_least(&mut self) -> u64 {
        loop {
            let least = self.least;
            let rest = &self.rows[self.cursor..];
            if let Some(ahead) = rest.iter().position(|row| row.count == least) {
                self.cursor += ahead;
                return least;
            }
            self.least = self.least();
            self.cursor = 0;
        }
    }

    /// Returns the most that a key without a row may have occurred.
    pub(super) fn least(&self) -> u64 {
        if self.rows.len() < self.capacity {
            return 0;
        }
        self.rows.iter().map(|row| row.count).min().unwrap_or(0)
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Forgets all, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.places.clear();
        self.least = 0;
        self.cursor = 0;
    }
}

/// Takes half of a key as its hash: keys are hashes under a secret already.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::key::Seed;
    use proptest::prelude::*;

    fn key(id: u16) -> Key {
        Seed::fixed(7).key(&id.to_le_bytes())
    }

    proptest! {
        #[test]
        fn counts_enclose_the_truth_within_the_bound(
            capacity in 1_usize..20,
            // Some ids often, many rarely.
            ids in prop::collection::vec(prop_oneof![0_u16..5, 0_u16..200], 0..2_000),
        ) {
            let mut summary = Summary::new(capacity);
            let mut truth = HashMap::new();
            for (before, &id) in ids.iter().enumerate() {
                summary.add(key(id), || None);
                *truth.entry(key(id)).or_insert(0_u64) += 1;
                prop_assert!(summary.rows().len() <= capacity);
                prop_assert!(summary.least() <= (before as u64 + 1) / capacity as u64);
            }
            let bound = (ids.len() / capacity) as u64;
            prop_assert_eq!(summary.rows().iter().map(|row| row.count).sum::<u64>(), ids.len() as u64);
            for row in summary.rows() {
                let times = truth.remove(&row.key).unwrap();
                prop_assert!(row.error <= bound);
                prop_assert!((row.count - row.error..=row.count).contains(&times));
            }
            // The keys that have no row.
            for times in truth.into_values() {
                prop_assert!(times <= summary.least());
            }
        }
    }

    #[test]
    fn only_a_key_that_gets_a_row_is_labelled() {
        let mut summary = Summary::new(1);
        let label = |text: &str| Some(text.as_bytes().into());
        summary.add(key(1), || label("one"));
        summary.add(key(1), || unreachable!());
        summary.add(key(2), || label("two"));
        assert_eq!(summary.rows()[0].label.as_deref(), Some(&b"two"[..]));
        assert_eq!((summary.rows()[0].count, summary.rows()[0].error), (3, 2));
        summary.clear();
        assert!(summary.rows().is_empty());
        assert_eq!(summary.least(), 0);
    }

    #[test]
    fn a_flood_of_new_keys_inspects_a_constant_number_of_rows_for_each() {
        // Far more rows than one call may visit: if each call did, this would take minutes.
        let mut summary = Summary::new(10_000);
        for id in 0..2_000_000_u64 {
            summary.add(Seed::fixed(7).key(&id.to_le_bytes()), || None);
        }
        assert_eq!(summary.least(), 200);
    }
}
