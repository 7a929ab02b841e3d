//! How a segment lies in memory: lines of tags, then the rows.

use bytemuck::{Pod, Zeroable};

/// Tags that are compared at once, and the fewest slots.
pub(super) const GROUP: usize = 16;

/// Every byte of a group 1, or with its top bit set.
pub(super) const ONES: u128 = u128::MAX / 0xFF;
const TOPS: u128 = ONES << 7;

pub(super) const LINE_WORDS: usize = 8;

/// A cache line. The rows begin with one, so a row of four words never lies across two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct CacheLine([u64; LINE_WORDS]);

// SAFETY: eight words, as large as their alignment, so without padding; every bit pattern, also zeros, is a valid word.
#[allow(unsafe_code)]
unsafe impl Zeroable for CacheLine {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Pod for CacheLine {}

/// The place of a segment, which is enough to find the row of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The address of its tags.
    pub(crate) start: usize,
    pub(crate) slots: u32,
    /// Bytes of a row.
    pub(crate) stride: u32,
}

/// Returns the slot at which the search for a key begins. Spreads the low word evenly over any number of slots
/// (Lemire 2016, "A fast alternative to the modulo reduction").
#[inline]
#[allow(clippy::cast_possible_truncation)] // less than `slots`
pub(super) fn home(key_low: u64, slots: u32) -> usize {
    ((u128::from(key_low) * u128::from(slots)) >> 64) as usize
}

/// Returns the word at which the rows of so many slots begin: on the line after their tags.
#[inline]
pub(super) fn first_row(slots: usize) -> usize {
    match slots {
        0 => 0,
        slots => (slots + GROUP - 1).div_ceil(size_of::<CacheLine>()) * LINE_WORDS,
    }
}

/// Returns seven bits of a key that choose neither its stripe nor its home, never zero.
#[inline]
pub(super) fn tag(key_high: u64) -> u8 {
    (key_high >> 57) as u8 | 0x80
}

/// Returns the top bit of each byte that is zero. In the bytes above such a byte, a 1 may be taken for a zero too, so
/// only the lowest is certain; the comparison of the key covers the others (Mycroft 1987).
#[inline]
pub(super) fn zero_bytes(group: u128) -> u128 {
    group.wrapping_sub(ONES) & !group & TOPS
}

/// Returns the number of the lowest byte that has its top bit set.
#[inline]
pub(super) fn first_byte(tops: u128) -> usize {
    (tops.trailing_zeros() / 8) as usize
}
