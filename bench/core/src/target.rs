//! The targets of a run.

use crate::case::BASE;

/// Our time must be at most `most` times that of `peer` in a case.
struct Target {
    case: &'static str,
    threads: u32,
    peer: &'static str,
    most: f64,
}

const fn target(case: &'static str, threads: u32, peer: &'static str, most: f64) -> Target {
    Target {
        case,
        threads,
        peer,
        most,
    }
}

const TARGETS: [Target; 5] = [
    target("hot key", 1, "governor, String", 1.0),
    target("10,000 keys", 1, "governor, String", 1.0),
    target("1,000,000 keys", 1, "governor, String", 0.5),
    target("1,000,000 keys", 1, "governor, String, ahash", 1.0),
    target("hot key", 2, "governor, String", 1.0),
];

/// One target, and the result of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Case, threads and peer.
    pub what: String,
    /// The most that our time may be, as a multiple of the peer's.
    pub most: f64,
    /// The measured multiple.
    pub ratio: f64,
}

impl Verdict {
    /// Returns whether the target is met.
    #[must_use]
    pub fn met(&self) -> bool {
        self.ratio <= self.most
    }
}

/// Compares one ratio of a case with its targets.
#[must_use]
pub fn judge(case: &str, threads: u32, peer: &str, ratio: f64) -> Option<Verdict> {
    let of = |target: &&Target| (target.case, target.threads, target.peer) == (case, threads, peer);
    let target = TARGETS.iter().find(of)?;
    let plural = if threads == 1 { "" } else { "s" };
    Some(Verdict {
        what: format!("{case}, {threads} thread{plural}: {BASE} to {peer}"),
        most: target.most,
        ratio,
    })
}
