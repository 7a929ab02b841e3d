//! The thread on which all input and output is done.

use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Handle};

use crate::error::ConfigError;

/// One for the process, from the first client on. A single thread carries many hundred thousand calls a second, and a
/// call that comes back is woken for once and not twice.
pub(crate) fn handle() -> Result<&'static Handle, ConfigError> {
    static HANDLE: OnceLock<Result<Handle, String>> = OnceLock::new();
    let started = HANDLE.get_or_init(|| start().map_err(|error| error.to_string()));
    let failed = |error: &String| ConfigError::Thread(error.clone());
    started.as_ref().map_err(failed)
}

fn start() -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    thread::Builder::new()
        .name("rate_limiter_redis".into())
        .spawn(run)?;
    Ok(handle)
}
