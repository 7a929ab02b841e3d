//! A limiter's handle: one integer that names it until it is closed.
//!
//! The handle of a local limiter is its place in a table that never shrinks, and its epoch there. So a check needs no
//! reference count: a place is never freed, and the limiter itself refuses a stale handle by its epoch. The handle of
//! a shared limiter is a number that is used once.

use rate_limiter_core::Epoch;

/// Names a limiter on this node until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u64);

const PLACE_BITS: u32 = 24;

/// The first handle of a shared limiter, above all handles of local ones.
pub(crate) const FIRST_SHARED: u64 = 1 << 61;

/// Bits that no handle has set.
pub(crate) const UNUSED_BITS: [u64; 2] = [1 << 62, 1 << 63];

impl Handle {
    pub(crate) fn local(place: u64, epoch: Epoch) -> Self {
        Self(u64::from(epoch.number()) << PLACE_BITS | place)
    }

    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // an invalid handle finds no limiter of its epoch
    pub(crate) const fn epoch(self) -> Epoch {
        Epoch::from_number((self.0 >> PLACE_BITS) as u32)
    }

    pub(crate) const fn is_shared(self) -> bool {
        self.0 & (UNUSED_BITS[0] | UNUSED_BITS[1]) == 0 && self.0 & FIRST_SHARED != 0
    }

    /// The place of a local limiter.
    #[inline]
    pub(crate) const fn place(self) -> Option<u64> {
        if self.0 >> (PLACE_BITS + u32::BITS) == 0 {
            Some(self.0 & ((1 << PLACE_BITS) - 1))
        } else {
            None
        }
    }
}
