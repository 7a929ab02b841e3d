//! The time that all steps of one attempt to connect may take together.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::ConnectError;

pub(super) struct Budget {
    end: Instant,
    total: Duration,
}

impl Budget {
    pub(super) fn new(total: Duration) -> Self {
        Self {
            end: Instant::now() + total,
            total,
        }
    }

    /// Waits for a step, at most until the end. The error then names the step: a port without TLS is silent in another
    /// one than a stopped server.
    pub(super) async fn step<T, E: Into<ConnectError>>(
        &self,
        name: &str,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ConnectError> {
        match timeout_at(self.end.into(), step).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(ConnectError::Failed(format!(
                "no answer within {:?}, while waiting for {name}",
                self.total
            ))),
        }
    }
}
