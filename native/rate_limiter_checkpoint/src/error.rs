//! Why a checkpoint cannot be written or read.

use std::io;

/// Why a file is refused, or could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file does not begin as a checkpoint.
    #[error("expected a checkpoint, got a file of another kind")]
    Foreign,
    /// Another version of the library wrote it.
    #[error("expected version {expected} of the format, got: {got}")]
    Version {
        /// The version that this library writes.
        expected: u16,
        /// That of the file.
        got: u16,
    },
    /// It was changed or cut off, or is no valid checkpoint for another reason.
    #[error("the file is damaged: {0}")]
    Damaged(&'static str),
    /// An instance of another name wrote it.
    #[error("the file is of another instance")]
    Instance,
    /// Ids were hashed under another secret since this runtime has started.
    #[error("this runtime has already hashed ids under another secret: start the instance with the checkpoint first")]
    Secret,
    /// A limiter was closed meanwhile.
    #[error("a limiter was removed while the checkpoint was written or read")]
    Closed,
}
