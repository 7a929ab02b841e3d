//! Locks that schedulers and the I/O thread hold for some nanoseconds.

/// Tries until it succeeds, because a scheduler must not park.
pub(crate) fn spin<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(guard) = attempt() {
            return guard;
        }
        std::hint::spin_loop();
    }
}
