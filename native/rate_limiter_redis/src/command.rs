//! Commands that are not calls of a limiter, such as heartbeats and the agreement between nodes.

use std::sync::Arc;

use rate_limiter_distributed::Failure;

/// A command of any kind. `EVAL` is sent as `EVALSHA`, and with its source only if the server does not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The key that selects the server.
    pub key: Arc<[u8]>,
    /// The command's name and arguments.
    pub words: Vec<Vec<u8>>,
}

/// Receives the reply to a command, exactly once, on any thread. Must not block.
pub type CommandDone = Box<dyn FnOnce(Result<redis::Value, Failure>) + Send>;
