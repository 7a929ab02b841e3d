//! The slots of one stripe: a small hash table with open addressing, linear probing, and removal by shifting back, so
//! without tombstones.
//!
//! A slot is a row of words: two of the key, then the state. Before the rows lies one byte for each slot, its tag: some
//! bits of the key. Sixteen tags are compared at once, and nearly always point to the one row of the key. So a search
//! touches one cache line of rows, and takes the same branches every time. The processor cannot predict how far a key
//! lies from its home, and would otherwise stop at each search that misses the cache (measured at 1,000,000 keys).

use bytemuck::Zeroable;

use crate::key::Key;

use super::layout::{
    first_byte, first_row, home, tag, zero_bytes, CacheLine, Extent, GROUP, LINE_WORDS, ONES,
};

/// Words of a key.
pub(crate) const KEY_WORDS: usize = 2;

/// The fill at which a segment grows, the one that it grows or shrinks to, and the one at which it shrinks, in percent.
const MAX_FILL: usize = 85;
const NEW_FILL: usize = 68;
const MIN_FILL: usize = 40;

/// The most words of a segment's first rows, of which only one may have a key.
const MAX_EMPTY_WORDS: usize = 128;

/// Small, since it lies on one cache line with the lock and the counts of the stripe: another core that takes the lock
/// then waits for one line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    /// A tag for each slot, 0 if it is empty, then the tags again, so that a group can begin at the last slot.
    /// The rows begin on the next line.
    lines: Box<[CacheLine]>,
    slots: u32,
    keys: u32,
}

impl Segment {
    /// Returns where the state of `key` begins, if the key is here.
    #[inline]
    pub(crate) fn find(&self, key: Key, stride: usize) -> Option<usize> {
        let wanted = u128::from(tag(key.high)) * ONES;
        let mut slot = self.home(key.low);
        loop {
            // A segment without slots has no tags.
            let group = self.group(slot)?;
            let mut matches = zero_bytes(group ^ wanted);
            while matches != 0 {
                let row = self.row(self.wrapped(slot + first_byte(matches)), stride);
                if self.words()[row..row + KEY_WORDS] == [key.high, key.low] {
                    return Some(row + KEY_WORDS);
                }
                matches &= matches - 1;
            }
            // A key never lies behind the first empty slot after its home.
            if zero_bytes(group) != 0 {
                return None;
            }
            slot = self.wrapped(slot + GROUP);
        }
    }

    /// Inserts a key that is not here, with a state of zeros, and returns where the state begins.
    pub(crate) fn insert(&mut self, key: Key, stride: usize) -> usize {
        if (self.keys() + 1) * 100 > self.slots() * MAX_FILL {
            self.resize(self.keys() + 1, stride);
        }
        self.keys += 1;
        self.place(key, stride)
    }

    /// Returns the state that begins at `at`.
    #[inline]
    pub(crate) fn state(&self, at: usize, words: usize) -> &[u64] {
        &self.words()[at..at + words]
    }

    /// Returns the state that begins at `at`.
    #[inline]
    pub(crate) fn state_mut(&mut self, at: usize, words: usize) -> &mut [u64] {
        &mut self.words_mut()[at..at + words]
    }

    /// Removes the slot whose state begins at `at`. Slots behind it may move.
    pub(crate) fn remove(&mut self, at: usize, stride: usize) {
        let mut gap = (at - KEY_WORDS - self.first_row()) / stride;
        let mut next = gap;
        loop {
            next = self.wrapped(next + 1);
            if self.tags()[next] == 0 || next == gap {
                break;
            }
            // A key may move back into the gap unless its home lies, cyclically, past the gap.
            let row = self.row(next, stride);
            let home = self.home(self.words()[row + 1]);
            if self.distance(home, next) >= self.distance(gap, next) {
                let to = self.row(gap, stride);
                self.words_mut().copy_within(row..row + stride, to);
                self.set_tag(gap, self.tags()[next]);
                gap = next;
            }
        }
        let row = self.row(gap, stride);
        self.words_mut()[row..row + stride].fill(0);
        self.set_tag(gap, 0);
        self.keys -= 1;
    }

    /// Removes every key whose state satisfies `forget`, and frees memory that is not needed any more.
    pub(crate) fn retain_not(&mut self, stride: usize, mut forget: impl FnMut(&mut [u64]) -> bool) {
        let mut slot = 0;
        while slot < self.slots() {
            let state = self.row(slot, stride) + KEY_WORDS;
            let words = stride - KEY_WORDS;
            if self.tags()[slot] != 0 && forget(self.state_mut(state, words)) {
                // The next key may have moved into this slot: look again.
                self.remove(state, stride);
            } else {
                slot += 1;
            }
        }
        let is_sparse = self.keys() * 100 < self.slots() * MIN_FILL;
        if is_sparse && (self.keys == 0 || self.slots() > fewest_slots(stride)) {
            self.resize(self.keys(), stride);
        }
    }

    /// Visits every key's first word and state.
    pub(crate) fn each_state(&mut self, stride: usize, mut visit: impl FnMut(u64, &mut [u64])) {
        let rows = self.first_row()..self.row(self.slots(), stride);
        for row in self.words_mut()[rows].chunks_exact_mut(stride) {
            if row[0] != 0 {
                visit(row[0], &mut row[KEY_WORDS..]);
            }
        }
    }

    /// Returns all keys.
    pub(crate) fn keys_of(&self, stride: usize) -> Vec<Key> {
        let mut keys = Vec::with_capacity(self.keys());
        keys.extend(self.occupied(stride).map(key_of));
        keys
    }

    /// Moves the keys that satisfy `leaves` to `other`.
    pub(crate) fn split(&mut self, other: &mut Self, stride: usize, leaves: impl Fn(u64) -> bool) {
        let old = std::mem::take(self);
        let leaving = old.occupied(stride).filter(|row| leaves(row[0])).count();
        self.resize(old.keys() - leaving, stride);
        other.resize(other.keys() + leaving, stride);
        for row in old.occupied(stride) {
            let into = if leaves(row[0]) {
                &mut *other
            } else {
                &mut *self
            };
            into.insert_row(row, stride);
        }
    }

    #[inline]
    pub(crate) fn keys(&self) -> usize {
        self.keys as usize
    }

    #[inline]
    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Returns where it lies, with rows of `stride` words.
    #[inline]
    pub(crate) fn extent(&self, stride: usize) -> Extent {
        Extent {
            start: self.lines.as_ptr().addr(),
            slots: self.slots,
            #[allow(clippy::cast_possible_truncation)] // as many words as a plan's windows need
            stride: (stride * size_of::<u64>()) as u32,
        }
    }

    /// Returns the bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Resizes to `keys` at the fill of a new segment.
    fn resize(&mut self, keys: usize, stride: usize) {
        let slots = match keys {
            0 => 0,
            keys => (keys * 100).div_ceil(NEW_FILL).max(fewest_slots(stride)),
        };
        let words = first_row(slots) + slots * stride;
        let new = Self {
            lines: vec![CacheLine::zeroed(); words.div_ceil(LINE_WORDS)].into(),
            slots: u32::try_from(slots).expect("a stripe is split long before"),
            keys: 0,
        };
        let old = std::mem::replace(self, new);
        for row in old.occupied(stride) {
            self.insert_row(row, stride);
        }
    }

    fn insert_row(&mut self, row: &[u64], stride: usize) {
        let at = self.place(key_of(row), stride);
        self.state_mut(at, stride - KEY_WORDS)
            .copy_from_slice(&row[KEY_WORDS..]);
        self.keys += 1;
    }

    /// Writes `key` into the first empty slot from its home, which exists, since the fill stays below 100 %.
    fn place(&mut self, key: Key, stride: usize) -> usize {
        let mut slot = self.home(key.low);
        while self.tags()[slot] != 0 {
            slot = self.wrapped(slot + 1);
        }
        self.set_tag(slot, tag(key.high));
        let row = self.row(slot, stride);
        self.words_mut()[row..row + KEY_WORDS].copy_from_slice(&[key.high, key.low]);
        row + KEY_WORDS
    }

    /// Returns the rows with a key.
    pub(crate) fn occupied(&self, stride: usize) -> impl Iterator<Item = &[u64]> {
        let rows = self.first_row()..self.row(self.slots(), stride);
        let rows = self.words()[rows].chunks_exact(stride);
        rows.filter(|row| row[0] != 0)
    }

    #[inline]
    fn words(&self) -> &[u64] {
        bytemuck::cast_slice(&self.lines)
    }

    #[inline]
    fn words_mut(&mut self) -> &mut [u64] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// Returns the tags, and the bytes that follow them.
    #[inline]
    fn tags(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    /// Returns the word at which the row of a slot begins.
    #[inline]
    fn row(&self, slot: usize, stride: usize) -> usize {
        self.first_row() + slot * stride
    }

    #[inline]
    fn first_row(&self) -> usize {
        first_row(self.slots())
    }

    /// Returns the tags of a slot and the fifteen that follow.
    #[inline]
    fn group(&self, slot: usize) -> Option<u128> {
        let group = self.tags().get(slot..)?.first_chunk::<GROUP>()?;
        Some(u128::from_le_bytes(*group))
    }

    #[inline]
    fn set_tag(&mut self, slot: usize, tag: u8) {
        let slots = self.slots();
        let end = slots + GROUP - 1;
        let tags: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        // Fewer slots than a group has are in it several times.
        for again in (slot..end).step_by(slots) {
            tags[again] = tag;
        }
    }

    #[inline]
    fn home(&self, key_low: u64) -> usize {
        home(key_low, self.slots)
    }

    /// Returns how many slots `to` lies behind `from`, cyclically.
    fn distance(&self, from: usize, to: usize) -> usize {
        (to + self.slots() - from) % self.slots()
    }

    /// A slot's number, counted on past the last one.
    #[inline]
    fn wrapped(&self, slot: usize) -> usize {
        if slot < self.slots() {
            slot
        } else {
            self.wrapped_around(slot)
        }
    }

    #[cold]
    fn wrapped_around(&self, slot: usize) -> usize {
        slot % self.slots()
    }
}

fn key_of(row: &[u64]) -> Key {
    Key {
        high: row[0],
        low: row[1],
    }
}

/// Returns the fewest slots of a segment: a group, but only two if a row is so large that empty rows would take more
/// memory than the keys.
fn fewest_slots(stride: usize) -> usize {
    (MAX_EMPTY_WORDS / stride).clamp(2, GROUP)
}

#[cfg(all(test, not(loom)))]
mod tests;
