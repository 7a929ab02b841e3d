//! Membership: each node writes a heartbeat to a sorted set, and reads the heartbeats of the others.

use std::sync::Arc;

use rate_limiter_distributed::{Failure, Members};
use redis::Value;

use crate::client::Client;
use crate::command::Command;
use crate::script;

/// The heartbeat of one node, which keeps its [`Members`] up to date.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    key: Arc<[u8]>,
    members: Arc<Members>,
}

impl Heartbeat {
    /// Creates the heartbeat of the nodes that share `prefix`.
    #[must_use]
    pub fn new(prefix: &str, members: Arc<Members>) -> Self {
        let key = format!("{prefix}:{{nodes}}").into_bytes().into();
        Self { key, members }
    }

    /// Sends a heartbeat, whose reply lists the live nodes. Must be called several times within
    /// [`Members::keep`](rate_limiter_distributed::Members::keep), after which a silent node counts as gone.
    pub fn beat(&self, client: &Client) -> Result<(), Failure> {
        let members = Arc::clone(&self.members);
        let done = move |reply| {
            if let Ok(Value::Array(nodes)) = reply {
                members.report(nodes.iter().map(name));
            }
        };
        client.command(self.command(b"stay"), Box::new(done))
    }

    /// Removes this node, so that the others get its share at once.
    pub fn leave(&self, client: &Client) -> Result<(), Failure> {
        client.command(self.command(b"leave"), Box::new(drop))
    }

    fn command(&self, action: &[u8]) -> Command {
        let keep = self.members.keep().as_millis().to_string();
        let words: [&[u8]; 7] = [
            b"EVAL",
            script::MEMBERS.as_bytes(),
            b"1",
            &self.key,
            self.members.node(),
            keep.as_bytes(),
            action,
        ];
        Command {
            key: Arc::clone(&self.key),
            words: words.map(<[u8]>::to_vec).to_vec(),
        }
    }
}

fn name(node: &Value) -> &[u8] {
    match node {
        Value::BulkString(name) => name,
        _ => &[],
    }
}
