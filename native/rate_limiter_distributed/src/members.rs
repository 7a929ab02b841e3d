//! The nodes that share the limits, and the share of this one.
//!
//! The authority reports the nodes that are present, by heartbeats or connections. During an outage it reports nothing,
//! and the last report holds, so a share never grows because of an outage. An authority that has lost its data reports
//! fewer nodes until each has sent a heartbeat again, so a smaller number is believed only after it was reported for
//! some time.

use std::sync::atomic::{AtomicU64, Ordering};
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
/// assert_eq!(members.share(), Share { nodes: 3, rank: 2 });
/// members.report(["a", "b", "c", "d"]);
/// assert_eq!(members.share(), Share { nodes: 4, rank: 1 });
/// assert_eq!(members.share().of(10), 3);
/// ```
#[derive(Debug)]
pub struct Members {
    node: Box<[u8]>,
    keep: Duration,
    /// The present [`Share`]: nodes in the upper half, rank in the lower.
    share: AtomicU64,
    /// Since when fewer nodes than `share` counts are reported.
    fewer_since: Mutex<Option<Nanos>>,
}

/// A part of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The number of nodes that share the limit, at least 1.
    pub nodes: u32,
    /// This node's place among them, from 0.
    pub rank: u32,
}

impl Share {
    /// Returns this node's part of `limit`. The parts of all nodes add up to it; some may be zero.
    #[must_use]
    pub fn of(self, limit: u64) -> u64 {
        let (nodes, rank) = (u64::from(self.nodes), u64::from(self.rank));
        limit / nodes + u64::from(rank < limit % nodes)
    }
}

impl Members {
    /// Creates the members before the first report: `nodes` of them, of which this one is the last, so that the
    /// remainder of a limit that cannot be divided goes to nodes that know that it is theirs.
    ///
    /// `node` is unique among all nodes, also among later ones at the same address. A node that was silent for `keep`
    /// has left.
    #[must_use]
    pub fn new(node: &str, nodes: u32, keep: Duration) -> Self {
        let nodes = nodes.max(1);
        let share = Share {
            nodes,
            rank: nodes - 1,
        };
        Self {
            node: node.as_bytes().into(),
            keep,
            share: AtomicU64::new(pack(share)),
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

    /// Returns this node's share according to the last report.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the two halves of a word
    pub fn share(&self) -> Share {
        let packed = self.share.load(Ordering::Relaxed);
        Share {
            nodes: (packed >> 32) as u32,
            rank: packed as u32,
        }
    }

    /// Reports the nodes that are present, in an order that is the same on all of them. A report without this node is
    /// ignored, since it does not contain this node's rank.
    pub fn report<N: AsRef<[u8]>>(&self, nodes: impl IntoIterator<Item = N>) {
        self.report_at(nodes, monotonic());
    }

    pub(crate) fn report_at<N: AsRef<[u8]>>(&self, nodes: impl IntoIterator<Item = N>, now: Nanos) {
        let (mut count, mut own) = (0_u32, None);
        for node in nodes {
            if own.is_none() && node.as_ref() == &*self.node {
                own = Some(count);
            }
            count += 1;
        }
        let Some(rank) = own else { return };
        let mut fewer_since = self.fewer_since.lock();
        if count < self.share().nodes {
            let since = *fewer_since.get_or_insert(now);
            if now.saturating_sub(since) < self.doubt() {
                return;
            }
        }
        *fewer_since = None;
        let share = Share { nodes: count, rank };
        self.share.store(pack(share), Ordering::Relaxed);
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
    fn the_configured_number_of_nodes_holds_until_the_first_report() {
        let members = Members::new("b", 3, KEEP);
        assert_eq!(members.share(), Share { nodes: 3, rank: 2 });
        assert_eq!(Members::new("b", 0, KEEP).share().nodes, 1);
        members.report(["a", "b", "c", "d"]);
        assert_eq!(members.share(), Share { nodes: 4, rank: 1 });
    }

    #[test]
    fn a_share_does_not_grow_when_the_authority_has_lost_its_list_of_nodes() {
        let members = Members::new("b", 3, KEEP);
        let (doubt, four) = (members.doubt(), Share { nodes: 4, rank: 1 });
        let report = |nodes: &[&str], at| {
            members.report_at(nodes, Nanos(at));
            members.share()
        };
        assert_eq!(report(&["a", "b", "c", "d"], 5), four);
        // The list starts anew with this node; the others follow with their next heartbeats.
        assert_eq!(report(&["b"], 10), four);
        assert_eq!(report(&["a", "b", "d"], 9 + doubt.0), four);
        assert_eq!(report(&["a", "b", "c", "d"], 10 + doubt.0), four);
        // A node without a heartbeat for that long has left.
        assert_eq!(report(&["b", "c", "d"], 100 + doubt.0), four);
        let three = Share { nodes: 3, rank: 0 };
        assert_eq!(report(&["b", "c", "d"], 100 + 2 * doubt.0), three);
        assert_eq!(report(&["a", "b", "c", "d"], 101 + 2 * doubt.0), four);
    }

    #[test]
    fn a_report_without_this_node_changes_nothing() {
        let members = Members::new("b", 3, KEEP);
        members.report(["a", "c"]);
        members.report([[]; 2]);
        members.report([[]; 0]);
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
