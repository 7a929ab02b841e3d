//! The nodes that share the limits, and the share of this one.
//!
//! The authority keeps a record of the share that each node may use. A node proposes its share with each heartbeat, and
//! the authority grants what the records of the other nodes leave free, so the shares of all nodes never add up to more
//! than a limit: a node that joins gets a share only after the others have reduced theirs. During an outage the last grant
//! holds.
//!
//! An authority that has lost its data knows fewer nodes until each has sent a heartbeat again, so a smaller number is
//! believed only after it was reported for some time.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rate_limiter_core::{monotonic, Nanos};

/// The nodes that share the limits of an instance, as this node knows them.
///
/// ```
/// use rate_limiter_distributed::{Members, Share};
/// use std::time::Duration;
///
/// let members = Members::new("b", 3, Duration::from_secs(15));
/// assert_eq!(members.share(), Share::without_remainder(3));
/// members.report(4, Share { nodes: 4, rank: 1 });
/// assert_eq!(members.share().of(10), 3);
/// assert_eq!(members.nodes(), 4);
/// ```
#[derive(Debug)]
pub struct Members {
    node: Box<[u8]>,
    keep: Duration,
    /// The smallest number of nodes among which limits are divided.
    least: u32,
    /// The number of nodes that are present.
    nodes: AtomicU32,
    /// The present [`Share`]: nodes in the upper half, rank in the lower.
    share: AtomicU64,
    /// Whether the share is the final one of these nodes.
    settled: AtomicBool,
    /// Since when fewer nodes than `nodes` are reported.
    fewer_since: Mutex<Option<Nanos>>,
}

/// A part of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The number of nodes that share the limit. 0 for no part of it.
    pub nodes: u32,
    /// This node's place among them, from 0. With `nodes` or more, this node has no part of the remainder of a limit
    /// that cannot be divided.
    pub rank: u32,
}

impl Share {
    /// No part of any limit.
    pub const NONE: Self = Self { nodes: 0, rank: 0 };

    /// Returns the part of one of `nodes`, without a remainder.
    #[must_use]
    pub const fn without_remainder(nodes: u32) -> Self {
        Self { nodes, rank: nodes }
    }

    /// Returns this node's part of `limit`. The parts of all nodes add up to it; some may be zero.
    #[must_use]
    pub fn of(self, limit: u64) -> u64 {
        let (nodes, rank) = (u64::from(self.nodes), u64::from(self.rank));
        match limit.checked_div(nodes) {
            Some(part) => part + u64::from(rank < limit % nodes),
            None => 0,
        }
    }
}

impl Members {
    /// Creates the members before the first report: `nodes` of them, without a remainder. Limits are never divided among
    /// fewer, so that a node that starts during an outage finds its part free.
    ///
    /// `node` is unique among all nodes. A node that was silent for `keep` has left.
    #[must_use]
    pub fn new(node: &str, nodes: u32, keep: Duration) -> Self {
        let nodes = nodes.max(1);
        Self {
            node: node.as_bytes().into(),
            keep,
            least: nodes,
            nodes: AtomicU32::new(nodes),
            share: AtomicU64::new(pack(Share::without_remainder(nodes))),
            settled: AtomicBool::new(false),
            fewer_since: Mutex::new(None),
        }
    }

    /// Returns this node's name.
    #[must_use]
    pub fn node(&self) -> &[u8] {
        &self.node
    }

    /// Returns the time after which a silent node has left.
    #[must_use]
    pub fn keep(&self) -> Duration {
        self.keep
    }

    /// Returns the number of nodes that are present, as far as this one knows.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// Returns the number of nodes among which this node wants to divide limits.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.nodes().max(self.least)
    }

    /// Returns this node's share.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the two halves of a word
    pub fn share(&self) -> Share {
        let packed = self.share.load(Ordering::Relaxed);
        Share {
            nodes: (packed >> 32) as u32,
            rank: packed as u32,
        }
    }

    /// Returns whether the share is final until nodes come or go. If not, heartbeats should be more frequent.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Reports the number of nodes that are present, and the share that is granted to this one. Returns whether the
    /// share changed: the authority frees the former share when the next heartbeat proposes the new one.
    #[allow(clippy::must_use_candidate)] // called for its effect
    pub fn report(&self, nodes: u32, grant: Share) -> bool {
        self.report_at(nodes, grant, monotonic())
    }

    pub(crate) fn report_at(&self, nodes: u32, grant: Share, now: Nanos) -> bool {
        let believed = self.believe(nodes.max(1), now);
        let wanted = self.wanted();
        let has_remainder = grant.rank < grant.nodes || wanted > nodes;
        let settled = nodes == believed && grant.nodes == wanted && has_remainder;
        self.settled.store(settled, Ordering::Relaxed);
        self.share.swap(pack(grant), Ordering::Relaxed) != pack(grant)
    }

    /// Returns the number of nodes to believe in.
    fn believe(&self, nodes: u32, now: Nanos) -> u32 {
        let mut fewer_since = self.fewer_since.lock();
        let believed = self.nodes();
        if nodes < believed {
            let since = *fewer_since.get_or_insert(now);
            if now.saturating_sub(since) < self.doubt() {
                return believed;
            }
        }
        *fewer_since = None;
        self.nodes.store(nodes, Ordering::Relaxed);
        nodes
    }

    /// How long fewer nodes must be reported before it is believed: long enough for each to send a heartbeat.
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

    const KEEP: Duration = Duration::from_secs(15);

    #[test]
    fn the_configured_number_of_nodes_is_the_least() {
        let members = Members::new("b", 3, KEEP);
        assert_eq!(members.share(), Share::without_remainder(3));
        assert_eq!(Members::new("b", 0, KEEP).share().nodes, 1);
        assert!(members.report(4, Share { nodes: 4, rank: 1 }));
        assert!(!members.report(4, Share { nodes: 4, rank: 1 }));
        assert!(members.is_settled());
        for seconds in [10, 60] {
            members.report_at(
                1,
                Share::without_remainder(3),
                Nanos(seconds * 1_000_000_000),
            );
        }
        assert_eq!((members.nodes(), members.wanted()), (1, 3));
        assert!(members.is_settled());
    }

    #[test]
    fn a_smaller_number_is_believed_after_some_time() {
        let members = Members::new("b", 3, KEEP);
        let doubt = members.doubt().0;
        let report = |nodes, at| {
            members.report_at(nodes, Share::without_remainder(4), Nanos(at));
            members.wanted()
        };
        assert_eq!(report(4, 5), 4);
        // The list starts anew with this node; the others follow with their next heartbeats.
        assert_eq!(report(1, 10), 4);
        assert_eq!(report(3, 9 + doubt), 4);
        assert_eq!(report(4, 10 + doubt), 4);
        // A node without a heartbeat for that long has left.
        assert_eq!(report(3, 100 + doubt), 4);
        assert!(!members.is_settled());
        assert_eq!(report(3, 100 + 2 * doubt), 3);
        assert_eq!(report(4, 101 + 2 * doubt), 4);
    }

    #[test]
    fn shares_add_up_to_the_limit() {
        for nodes in 1..=9 {
            for limit in [0, 1, 7, 8, 9, 1_000_003, u64::MAX] {
                let shares = (0..nodes).map(|rank| Share { nodes, rank }.of(limit));
                let sum = shares.map(u128::from).sum::<u128>();
                assert_eq!(sum, u128::from(limit), "{limit} for {nodes}");
                let rest = Share::without_remainder(nodes).of(limit);
                assert_eq!(rest, limit / u64::from(nodes));
                assert_eq!(Share::NONE.of(limit), 0);
            }
        }
    }
}
