//! Names to handles: read by every check without a lock, written when limiters come and go.
//!
//! An open-addressing table of two atomic words a name. A name's row never moves or empties within a table; when one
//! fills up, a table of twice the size takes over. The earlier ones stay, since somebody may still be reading: they
//! add up to less than the last. Names are atoms, which Erlang never frees either.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::OnceLock;

use parking_lot::Mutex;

const FIRST_ROWS: usize = 64;
const TABLES: usize = 24;

pub(crate) struct Names {
    tables: [OnceLock<Box<[Row]>>; TABLES],
    current: AtomicUsize,
    /// Names in the current table; held while writing.
    written: Mutex<usize>,
}

/// A name and what it means. Zero is no name, and no meaning.
#[derive(Default)]
struct Row {
    name: AtomicU64,
    meaning: AtomicU64,
}

impl Names {
    pub(crate) const fn new() -> Self {
        Self {
            tables: [const { OnceLock::new() }; TABLES],
            current: AtomicUsize::new(0),
            written: Mutex::new(0),
        }
    }

    /// What `name` means now, or 0.
    #[inline]
    pub(crate) fn get(&self, name: u64) -> u64 {
        let rows = self.rows(self.current.load(Ordering::Acquire));
        row_of(rows, name).map_or(0, |row| row.meaning.load(Ordering::Acquire))
    }

    /// Changes what `name` means, one writer at a time. Returns what `change` made of it.
    pub(crate) fn update(&self, name: u64, change: impl FnOnce(u64) -> u64) -> u64 {
        let mut written = self.written.lock();
        let meaning = change(self.get(name));
        let level = self.current.load(Ordering::Relaxed);
        if let Some(row) = row_of(self.rows(level), name) {
            row.meaning.store(meaning, Ordering::Release);
        } else {
            let level = if *written * 2 < self.rows(level).len() {
                level
            } else {
                self.grow(level)
            };
            write(self.rows(level), name, meaning);
            self.current.store(level, Ordering::Release);
            *written += 1;
        }
        meaning
    }

    /// Fills the next table with the names of `level`.
    fn grow(&self, level: usize) -> usize {
        for row in self.rows(level) {
            let name = row.name.load(Ordering::Relaxed);
            if name != 0 {
                let meaning = row.meaning.load(Ordering::Relaxed);
                write(self.rows(level + 1), name, meaning);
            }
        }
        level + 1
    }

    #[inline]
    fn rows(&self, level: usize) -> &[Row] {
        self.tables[level].get_or_init(|| {
            let rows = FIRST_ROWS << level;
            (0..rows).map(|_| Row::default()).collect()
        })
    }
}

/// The row of `name`, if it has one. A table is never more than half full, so the search ends.
#[inline]
fn row_of(rows: &[Row], name: u64) -> Option<&Row> {
    let mut at = home(name, rows.len());
    loop {
        let row = &rows[at];
        match row.name.load(Ordering::Acquire) {
            0 => return None,
            found if found == name => return Some(row),
            _ => at = (at + 1) & (rows.len() - 1),
        }
    }
}

/// Writes a name that has no row yet: its meaning first, so that whoever sees the name sees what it means.
fn write(rows: &[Row], name: u64, meaning: u64) {
    let mut at = home(name, rows.len());
    while rows[at].name.load(Ordering::Relaxed) != 0 {
        at = (at + 1) & (rows.len() - 1);
    }
    rows[at].meaning.store(meaning, Ordering::Release);
    rows[at].name.store(name, Ordering::Release);
}

/// Fibonacci hashing: atoms are numbered in a row, and their numbers begin above the tag bits.
#[inline]
#[allow(clippy::cast_possible_truncation)] // less than `rows`
fn home(name: u64, rows: usize) -> usize {
    (name.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - rows.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &Names, name: u64, meaning: u64) {
        assert_eq!(names.update(name, |_| meaning), meaning);
    }

    #[test]
    fn a_name_means_what_was_last_said() {
        let names = Names::new();
        assert_eq!(names.get(11), 0);
        set(&names, 11, 1);
        set(&names, 11, 2);
        assert_eq!(names.get(11), 2);
        assert_eq!(names.update(11, |meaning| meaning + 1), 3);
        assert_eq!(names.get(11), 3);
    }

    #[test]
    fn thousands_of_names_keep_their_meanings_through_growth() {
        let names = Names::new();
        for name in 1..=5_000 {
            set(&names, name * 64 + 11, name);
        }
        for name in 1..=5_000 {
            assert_eq!(names.get(name * 64 + 11), name);
        }
        assert_eq!(names.get(5_001 * 64 + 11), 0);
    }

    #[test]
    fn readers_see_no_torn_name_while_others_are_added() {
        let names = Names::new();
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
