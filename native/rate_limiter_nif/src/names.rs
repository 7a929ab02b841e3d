//! The map from names to handles. Every check reads it without a lock; it is written when a limiter is made or closed.
//!
//! This is an open-addressing table with two atomic integers for each name. The row of a name never moves or empties
//! within a table. When a table is half full, a table of twice the size replaces it. The earlier tables stay, since a
//! reader may still use them; together they are smaller than the last. Names are atoms, which Erlang never frees either.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::OnceLock;

use parking_lot::Mutex;

const FIRST_ROWS: usize = 64;
const TABLES: usize = 24;

pub(crate) struct NameTable {
    tables: [OnceLock<Box<[Entry]>>; TABLES],
    current: AtomicUsize,
    /// The number of names in the current table. Locked while writing.
    written: Mutex<usize>,
}

/// A name and its meaning. Zero stands for no name, or no meaning.
#[derive(Default)]
struct Entry {
    name: AtomicU64,
    meaning: AtomicU64,
}

impl NameTable {
    pub(crate) const fn new() -> Self {
        Self {
            tables: [const { OnceLock::new() }; TABLES],
            current: AtomicUsize::new(0),
            written: Mutex::new(0),
        }
    }

    /// Returns the meaning of `name`, or 0.
    #[inline]
    pub(crate) fn get(&self, name: u64) -> u64 {
        // Acquire: pairs with the release in `update`, so that the reader of a new table sees the names in it.
        let rows = self.rows(self.current.load(Ordering::Acquire));
        // Acquire: pairs with the release in `update`, so that a reader of a handle sees its limiter.
        entry(rows, name).map_or(0, |entry| entry.meaning.load(Ordering::Acquire))
    }

    /// Changes the meaning of `name`, one writer at a time. Returns the new meaning.
    pub(crate) fn update(&self, name: u64, change: impl FnOnce(u64) -> u64) -> u64 {
        let mut written = self.written.lock();
        let meaning = change(self.get(name));
        let level = self.current.load(Ordering::Relaxed);
        if let Some(entry) = entry(self.rows(level), name) {
            // Release: publishes the limiter with its handle.
            entry.meaning.store(meaning, Ordering::Release);
        } else {
            let level = if *written * 2 < self.rows(level).len() {
                level
            } else {
                self.grow(level)
            };
            write(self.rows(level), name, meaning);
            // Release: publishes the entries that `grow` and `write` stored.
            self.current.store(level, Ordering::Release);
            *written += 1;
        }
        meaning
    }

    /// Fills the next table with the names of `level`.
    fn grow(&self, level: usize) -> usize {
        for entry in self.rows(level) {
            let name = entry.name.load(Ordering::Relaxed);
            if name != 0 {
                let meaning = entry.meaning.load(Ordering::Relaxed);
                write(self.rows(level + 1), name, meaning);
            }
        }
        level + 1
    }

    #[inline]
    fn rows(&self, level: usize) -> &[Entry] {
        self.tables[level].get_or_init(|| {
            let rows = FIRST_ROWS << level;
            (0..rows).map(|_| Entry::default()).collect()
        })
    }
}

/// Finds the entry of `name`. A table is never more than half full, so the search ends.
#[inline]
fn entry(rows: &[Entry], name: u64) -> Option<&Entry> {
    let mut at = home(name, rows.len());
    loop {
        let entry = &rows[at];
        // Acquire: pairs with the release in `write`, so that a reader that sees the name sees its meaning.
        match entry.name.load(Ordering::Acquire) {
            0 => return None,
            found if found == name => return Some(entry),
            _ => at = (at + 1) & (rows.len() - 1),
        }
    }
}

/// Writes a name that has no entry yet: its meaning first, so that a reader that sees the name sees its meaning.
fn write(rows: &[Entry], name: u64, meaning: u64) {
    let mut at = home(name, rows.len());
    while rows[at].name.load(Ordering::Relaxed) != 0 {
        at = (at + 1) & (rows.len() - 1);
    }
    rows[at].meaning.store(meaning, Ordering::Relaxed);
    // Release: publishes the meaning and the limiter with the name.
    rows[at].name.store(name, Ordering::Release);
}

/// Fibonacci hashing, because atoms have consecutive numbers, which begin above the tag bits.
#[inline]
#[allow(clippy::cast_possible_truncation)] // less than `rows`
fn home(name: u64, rows: usize) -> usize {
    (name.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - rows.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &NameTable, name: u64, meaning: u64) {
        assert_eq!(names.update(name, |_| meaning), meaning);
    }

    #[test]
    fn a_name_has_its_last_meaning() {
        let names = NameTable::new();
        assert_eq!(names.get(11), 0);
        set(&names, 11, 1);
        set(&names, 11, 2);
        assert_eq!(names.get(11), 2);
        assert_eq!(names.update(11, |meaning| meaning + 1), 3);
        assert_eq!(names.get(11), 3);
    }

    #[test]
    fn thousands_of_names_keep_their_meanings_through_growth() {
        let names = NameTable::new();
        for name in 1..=5_000 {
            set(&names, name * 64 + 11, name);
        }
        for name in 1..=5_000 {
            assert_eq!(names.get(name * 64 + 11), name);
        }
        assert_eq!(names.get(5_001 * 64 + 11), 0);
    }

    #[test]
    fn readers_find_a_name_while_others_are_added() {
        let names = NameTable::new();
        set(&names, 11, 7);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for name in 2..=20_000 {
                    set(&names, name * 64 + 11, name);
                }
            });
            for _ in 0..200_000 {
                assert_eq!(names.get(11), 7);
            }
        });
    }
}
