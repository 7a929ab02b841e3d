//! Where a key's row probably is, for a call that has not got the lock yet.
//!
//! A check writes two cache lines, the stripe's and the row's, and where other cores ask about the same keys each of them
//! was often written by another core last. Which line is the row's stands behind the lock: so the second would be
//! waited for when the first has come. But a segment seldom moves. What it takes to find the row lies beside the lock,
//! too, on a line that only changes when the segment does, and every core has a copy of it: with that, all lines can be
//! on their way before the lock is taken.
//!
//! A hint is a guess. It may be torn or stale, and name memory that was freed: nothing is read or written by it.

// Not loom's, in models either: no answer depends on a hint, and each model would be tried many times more often.
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::key::Key;

use super::layout::{first_row, home, Extent};

const LINE: usize = 64;

/// An extent as it was last told.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    start: AtomicUsize,
    slots: AtomicU32,
    stride: AtomicU32,
}

impl Hint {
    /// Goes by this extent from now on. Called under the stripe's lock.
    #[inline]
    pub(crate) fn update(&self, extent: Extent) {
        // Nearly always it is the same, and the line stays with all cores.
        if self.extent() != extent {
            self.store(extent);
        }
    }

    #[cold]
    fn store(&self, extent: Extent) {
        self.start.store(extent.start, Ordering::Relaxed);
        self.slots.store(extent.slots, Ordering::Relaxed);
        self.stride.store(extent.stride, Ordering::Relaxed);
    }

    /// Has what a search for the key will touch come from memory, or from another core.
    #[inline]
    pub(crate) fn prefetch(&self, key: Key) {
        let Extent {
            start,
            slots,
            stride,
        } = self.extent();
        let home = home(key.low, slots);
        let rows = start.wrapping_add(first_row(slots as usize) * size_of::<u64>());
        let row = rows.wrapping_add(home * stride as usize);
        prefetch_for_read(start.wrapping_add(home));
        // The key is at home or a little further on.
        prefetch_for_write(row);
        prefetch_for_write(row.wrapping_add(LINE));
    }

    #[inline]
    fn extent(&self) -> Extent {
        Extent {
            start: self.start.load(Ordering::Relaxed),
            slots: self.slots.load(Ordering::Relaxed),
            stride: self.stride.load(Ordering::Relaxed),
        }
    }
}

/// Has the line at an address come, so that it can be read.
#[inline]
#[allow(unsafe_code)]
fn prefetch_for_read(address: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        // SAFETY: any address may be prefetched, mapped or not; SSE belongs to x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Has the line at an address come, and all other cores give it up.
///
/// The intrinsic for it compiles to the instruction for reading, unless the target is newer than any x86-64. Processors
/// that lack the instruction take it for one that does nothing.
#[inline]
#[allow(unsafe_code)]
pub(crate) fn prefetch_for_write(address: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as for `fetch`: the instruction changes nothing that a program can see, and never faults.
    unsafe {
        std::arch::asm!(
            "prefetchw [{}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn follows_and_announces_whatever_it_was_told() {
        let hint = Hint::default();
        let key = Key {
            high: 1,
            low: u64::MAX,
        };
        hint.prefetch(key);
        let nowhere = Extent {
            start: usize::MAX - 7,
            slots: u32::MAX,
            stride: u32::MAX,
        };
        for extent in [nowhere, Extent::default(), nowhere] {
            hint.update(extent);
            assert_eq!(hint.extent(), extent);
            hint.prefetch(key);
        }
    }
}
