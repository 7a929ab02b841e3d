//! How many nodes share the limits, and which of them this one is.
//!
//! Each node says now and then, in a sorted set in Redis, that it is there, and reads who else is. While Redis is away
//! nothing is heard, and what was heard last holds: nobody's share grows by an outage. A Redis that comes back without
//! its data has forgotten the nodes, too, until each of them was there again: so fewer than before are believed only
//! when they are heard for some time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rate_limiter_core::{monotonic, Nanos};

use crate::call::{Command, Failure, Transport};

const SCRIPT: &str = include_str!("lua/members.lua");

/// The nodes that share the limits of one prefix, as this one knows them.
#[derive(Debug)]
pub struct Members {
    key: Arc<[u8]>,
    node: Box<[u8]>,
    keep: Duration,
    /// The present [`Share`]: nodes in the upper half, rank in the lower.
    share: AtomicU64,
    /// Since when fewer nodes are heard than share the limits here.
    fewer_since: Mutex<Option<Nanos>>,
}

/// A part of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many nodes share the limit, at least 1.
    pub nodes: u32,
    /// This node's place among them, from 0.
    pub rank: u32,
}

impl Share {
    /// One node's part of `limit`. The parts of all nodes add up to it; some may be zero.
    #[must_use]
    pub fn of(self, limit: u64) -> u64 {
        let (nodes, rank) = (u64::from(self.nodes), u64::from(self.rank));
        limit / nodes + u64::from(rank < limit % nodes)
    }
}

impl Members {
    /// Knows nothing yet, so `nodes` is taken for their number, and this one for the last: the remainder of a limit
    /// that cannot be divided is for those who know that it is theirs.
    ///
    /// `node` names this node, in no way that another could, also not a later one at the same address. A node that was
    /// silent for `keep` counts no more.
    #[must_use]
    pub fn new(prefix: &str, node: &str, nodes: u32, keep: Duration) -> Self {
        let nodes = nodes.max(1);
        let share = Share {
            nodes,
            rank: nodes - 1,
        };
        Self {
            key: format!("{prefix}:{{nodes}}").into_bytes().into(),
            node: node.as_bytes().into(),
            keep,
            share: AtomicU64::new(pack(share)),
            fewer_since: Mutex::new(None),
        }
    }

    /// As heard last.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the two halves of a word
    pub fn share(&self) -> Share {
        let packed = self.share.load(Ordering::Relaxed);
        Share {
            nodes: (packed >> 32) as u32,
            rank: packed as u32,
        }
    }

    /// Says that this node is there, and hears who else is. Several times within what silence means leaving.
    pub fn beat(self: &Arc<Self>, transport: &dyn Transport) -> Result<(), Failure> {
        let members = Arc::clone(self);
        let done = move |reply| {
            if let Ok(redis::Value::Array(nodes)) = reply {
                members.heard(&nodes);
            }
        };
        transport.command(self.command(b"stay"), Box::new(done))
    }

    /// Says that this node leaves, so that its share goes to the others at once.
    pub fn leave(&self, transport: &dyn Transport) -> Result<(), Failure> {
        transport.command(self.command(b"leave"), Box::new(drop))
    }

    fn command(&self, what: &[u8]) -> Command {
        let keep = self.keep.as_millis().to_string();
        let words: [&[u8]; 7] = [
            b"EVAL",
            SCRIPT.as_bytes(),
            b"1",
            &self.key,
            &self.node,
            keep.as_bytes(),
            what,
        ];
        Command {
            key: Arc::clone(&self.key),
            words: words.map(<[u8]>::to_vec).to_vec(),
        }
    }

    /// Takes up what the script has answered. An answer in which this node is missing says nothing of its share.
    pub(crate) fn heard(&self, nodes: &[redis::Value]) {
        self.heard_at(nodes, monotonic());
    }

    pub(crate) fn heard_at(&self, nodes: &[redis::Value], now: Nanos) {
        let is_this = |node: &redis::Value| match node {
            redis::Value::BulkString(name) => **name == *self.node,
            _ => false,
        };
        let rank = nodes.iter().position(is_this);
        if let (Some(Ok(rank)), Ok(nodes)) = (rank.map(u32::try_from), u32::try_from(nodes.len())) {
            let mut fewer_since = self.fewer_since.lock();
            if nodes < self.share().nodes {
                let since = *fewer_since.get_or_insert(now);
                if now.saturating_sub(since) < self.doubt() {
                    return;
                }
            }
            *fewer_since = None;
            self.share
                .store(pack(Share { nodes, rank }), Ordering::Relaxed);
        }
    }

    /// For how long fewer nodes must be heard: all that are there have said so again meanwhile.
    fn doubt(&self) -> Nanos {
        Nanos::from(self.keep / 4)
    }
}

fn pack(share: Share) -> u64 {
    u64::from(share.nodes) << 32 | u64::from(share.rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::Value;

    const KEEP: Duration = Duration::from_secs(15);

    fn names(names: &[&str]) -> Vec<Value> {
        let name = |name: &&str| Value::BulkString(name.as_bytes().to_vec());
        names.iter().map(name).collect()
    }

    #[test]
    fn until_others_are_heard_the_configured_number_holds() {
        let members = Members::new("app", "b", 3, KEEP);
        assert_eq!(members.share(), Share { nodes: 3, rank: 2 });
        assert_eq!(Members::new("app", "b", 0, KEEP).share().nodes, 1);
        members.heard(&names(&["a", "b", "c", "d"]));
        assert_eq!(members.share(), Share { nodes: 4, rank: 1 });
    }

    #[test]
    fn a_server_that_has_forgotten_the_nodes_makes_nobodys_share_larger() {
        let members = Members::new("app", "b", 3, KEEP);
        let (doubt, four) = (members.doubt(), Share { nodes: 4, rank: 1 });
        let hear = |nodes: &[&str], at| {
            members.heard_at(&names(nodes), Nanos(at));
            members.share()
        };
        assert_eq!(hear(&["a", "b", "c", "d"], 5), four);
        // It begins anew with this one, and then the others say that they are there.
        assert_eq!(hear(&["b"], 10), four);
        assert_eq!(hear(&["a", "b", "d"], 9 + doubt.0), four);
        assert_eq!(hear(&["a", "b", "c", "d"], 10 + doubt.0), four);
        // One that does not has gone.
        assert_eq!(hear(&["b", "c", "d"], 100 + doubt.0), four);
        let three = Share { nodes: 3, rank: 0 };
        assert_eq!(hear(&["b", "c", "d"], 100 + 2 * doubt.0), three);
        assert_eq!(hear(&["a", "b", "c", "d"], 101 + 2 * doubt.0), four);
    }

    #[test]
    fn an_answer_without_this_node_changes_nothing() {
        let members = Members::new("app", "b", 3, KEEP);
        members.heard(&names(&["a", "c"]));
        members.heard(&[Value::Nil, Value::Int(7)]);
        members.heard(&[]);
        assert_eq!(members.share(), Share { nodes: 3, rank: 2 });
    }

    #[test]
    fn shares_add_up_to_the_limit() {
        for nodes in 1..=9 {
            for limit in [0, 1, 7, 8, 9, 1_000_003, u64::MAX] {
                let shares = (0..nodes).map(|rank| Share { nodes, rank }.of(limit));
                let sum = shares.map(u128::from).sum::<u128>();
                assert_eq!(sum, u128::from(limit), "{limit} for {nodes}");
            }
        }
    }
}
