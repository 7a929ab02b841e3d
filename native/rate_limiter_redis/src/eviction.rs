//! What a server does when its memory is full. One that evicts keys forgets what was used of them: a free reset.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{from_redis_value, RedisError};

use crate::connection::Connection;
use crate::context::Context;
use crate::lane::Board;
use crate::observer::EvictionEvent;

/// How often a server is asked again: an operator may change it at any time.
const PAUSE: Duration = Duration::from_secs(30);

/// How long it may take to say.
const ANSWER: Duration = Duration::from_secs(1);

/// A server that evicts keys when it is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Eviction {
    pub(crate) policy: Box<str>,
    pub(crate) maxmemory: u64,
}

impl Eviction {
    /// What `INFO memory` says of it; `None` where nothing is ever evicted, or it does not say so.
    fn said(info: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let policy = field("maxmemory_policy")?;
        let maxmemory = field("maxmemory")?.parse().ok()?;
        let evicts = policy.starts_with("allkeys-") || policy.starts_with("volatile-");
        (evicts && maxmemory > 0).then(|| Self {
            policy: policy.into(),
            maxmemory,
        })
    }
}

/// Asks now and then for as long as the connection is there, beside the calls. A user who may not ask is not told; nor
/// does the server hear the question again over this connection.
pub(crate) async fn watch(connection: Weak<Connection>, context: Arc<Context>, board: Arc<Board>) {
    while let Some(connection) = connection.upgrade() {
        let answer = tokio::time::timeout(ANSWER, ask(&connection)).await;
        // Or it would be kept open by this alone.
        drop(connection);
        match answer {
            Ok(Ok(found)) => tell(&context, &board, found),
            Ok(Err(error)) if error.code().is_some() => return,
            // It is slow, or gone.
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn tell(context: &Context, board: &Board, found: Option<Eviction>) {
    if !board.set_eviction(found.clone()) {
        return;
    }
    if let Some(Eviction { policy, maxmemory }) = found {
        context.observer.eviction(&EvictionEvent {
            server: &board.server,
            policy: &policy,
            maxmemory,
        });
    }
}

async fn ask(connection: &Connection) -> Result<Option<Eviction>, RedisError> {
    // Not `CONFIG GET`, which shows passwords, too: who may do that may do too much.
    let value = connection.ask(redis::cmd("INFO").arg("memory")).await?;
    let info: String = from_redis_value(value)?;
    Ok(Eviction::said(&info))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(policy: &str, maxmemory: u64) -> Option<Eviction> {
        Eviction::said(&format!(
            "# Memory\r\nused_memory:1\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n"
        ))
    }

    #[test]
    fn only_a_server_with_a_bound_and_a_policy_that_evicts_is_one() {
        for policy in [
            "allkeys-lru",
            "allkeys-random",
            "volatile-lru",
            "volatile-ttl",
        ] {
            let eviction = Eviction {
                policy: policy.into(),
                maxmemory: 9,
            };
            assert_eq!(said(policy, 9), Some(eviction));
            assert_eq!(said(policy, 0), None, "without a bound it is never full");
        }
        assert_eq!(said("noeviction", 9), None);
        assert_eq!(said("something else", 9), None);
        assert_eq!(Eviction::said("# Memory\r\nmaxmemory:9\r\n"), None);
    }
}
