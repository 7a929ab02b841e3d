//! The thread that does all I/O.

use std::io;
use std::thread;

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle};

use crate::error::ConfigError;

/// Returns the runtime of this process, which the first client starts. If that fails, the next client tries again.
///
/// A single thread carries several hundred thousand calls per second, and with one thread a reply costs one wake-up
/// instead of two.
pub(crate) fn handle() -> Result<&'static Handle, ConfigError> {
    static HANDLE: OnceCell<Handle> = OnceCell::new();
    let handle = HANDLE.get_or_try_init(start);
    handle.map_err(|error| ConfigError::Thread(error.to_string()))
}

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("rate_limiter_redis".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
