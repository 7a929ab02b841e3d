//! Prefetches the row of a key before the lock of its stripe is taken.
//!
//! A check writes two cache lines, of the stripe and of the row. If other cores check the same keys, another core often
//! wrote them last. The address of the row is guarded by the lock, so the core would wait for the second line after the
//! first. But a segment rarely moves. So its extent also lies beside the lock, on a line that changes only when the
//! segment does, and of which every core has a copy: from it, all lines can be requested before the lock is taken.
//!
//! A hint is a guess. It may be torn or stale, and refer to memory that was freed: it is never used to read or write.

// Not the atomics of loom: no answer depends on a hint, and each model would have many times more interleavings.
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::key::Key;

use super::layout::{first_row, home, Extent};

const LINE: usize = 64;

/// The last known extent of a segment.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    start: AtomicUsize,
    slots: AtomicU32,
    stride: AtomicU32,
}

impl Hint {
    /// Stores the extent. Called under the lock of the stripe.
    #[inline]
    pub(crate) fn update(&self, extent: Extent) {
        // It rarely changes, and without a write all cores keep their copy of the line.
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

    /// Requests the lines that a search for the key will touch, from memory or another core.
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
        // The key is at home, or a few slots behind.
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

/// Requests the line at an address for reading.
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

/// Requests the line at an address for writing, so that other cores give it up.
///
/// The intrinsic compiles to the instruction for reading, unless the target is newer than the x86-64 baseline.
/// Processors without the instruction execute it as a no-op.
#[inline]
#[allow(unsafe_code)]
pub(crate) fn prefetch_for_write(address: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as for reading: the instruction has no effect that a program can see, and never faults.
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
