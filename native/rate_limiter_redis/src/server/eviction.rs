//! Detects servers that evict keys when their memory is full. An evicted key is a free reset.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{from_redis_value, RedisError};

use super::status::LiveStatus;
use crate::connection::Connection;
use crate::context::Context;
use crate::observer::EvictionEvent;

/// The time between two queries. An operator may change the policy at any time.
const INTERVAL: Duration = Duration::from_secs(30);

/// The maximum time that a server may take to reply.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of a server that evicts keys.
#[derive(Debug, PartialEq, Eq)]
struct Eviction {
    policy: Box<str>,
    maxmemory: u64,
}

impl Eviction {
    /// Reads the reply to `INFO memory`. Returns `None` if the server never evicts, or does not report it.
    fn parse(info: &str) -> Option<Self> {
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

/// Queries the policy at intervals until the connection is closed, or the server refuses the query. A refusal is not
/// reported, since a user with least privileges has no access to `INFO`.
pub(super) async fn watch(
    connection: Weak<Connection>,
    context: Arc<Context>,
    status: Arc<LiveStatus>,
) {
    while let Some(connection) = connection.upgrade() {
        let reply = tokio::time::timeout(TIMEOUT, query(&connection)).await;
        // Dropped before the pause, or this task alone would keep the connection open.
        drop(connection);
        match reply {
            Ok(Ok(eviction)) => report(&context, &status, eviction.as_ref()),
            Ok(Err(error)) if error.code().is_some() => return,
            // The server is slow, or gone.
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn report(context: &Context, status: &LiveStatus, eviction: Option<&Eviction>) {
    let is_new = status.set_eviction_policy(eviction.map(|eviction| &*eviction.policy));
    if let Some(Eviction { policy, maxmemory }) = eviction.filter(|_| is_new) {
        context.observer.eviction(&EvictionEvent {
            server: &status.name,
            policy,
            maxmemory: *maxmemory,
        });
    }
}

async fn query(connection: &Connection) -> Result<Option<Eviction>, RedisError> {
    // Not `CONFIG GET`: it shows passwords, too, so a limiter's user should not have access to it.
    let info = connection.query(redis::cmd("INFO").arg("memory")).await?;
    let info: String = from_redis_value(info)?;
    Ok(Eviction::parse(&info))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(policy: &str, maxmemory: u64) -> Option<Eviction> {
        Eviction::parse(&format!(
            "# Memory\r\nused_memory:1\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n"
        ))
    }

    #[test]
    fn a_server_evicts_with_a_memory_limit_and_an_evicting_policy() {
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
            assert_eq!(parse(policy, 9), Some(eviction));
            assert_eq!(parse(policy, 0), None, "no limit, so never full");
        }
        assert_eq!(parse("noeviction", 9), None);
        assert_eq!(parse("something else", 9), None);
        assert_eq!(Eviction::parse("# Memory\r\nmaxmemory:9\r\n"), None);
    }
}
