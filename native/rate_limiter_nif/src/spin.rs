//! Locks that are held for some nanoseconds, by schedulers and by the thread that speaks with Redis.

/// Tries until it succeeds: a scheduler must not park.
pub(crate) fn spin<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(guard) = attempt() {
            return guard;
        }
        std::hint::spin_loop();
    }
}
