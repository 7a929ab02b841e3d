//! A question to a limiter, and what became of it.

use std::sync::Arc;

use rate_limiter_core::{Answer, Key, Scale, Select};

use crate::call::{Op, Request};

/// One question about one id.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The id's hash in this node.
    pub key: Key,
    /// What the keys of all its windows in Redis share: `prefix:{limiter:id}`.
    pub name: Arc<[u8]>,
    /// The windows asked about.
    pub select: Select<'a>,
    /// What to do.
    pub op: Op,
    /// How much to take or to give back.
    pub cost: u64,
    /// Names the call, so that made again it is not charged again.
    pub request: Option<Request>,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer in a word.
    pub verdict: Verdict,
    /// Who gave it.
    pub source: Source,
    /// What each window says; nothing where it is unavailable.
    pub answer: Option<Answer>,
    /// The factor on all limits under which it was judged.
    pub scale: Scale,
    /// Set in the one outcome with which answers ceased or began again to come from Redis.
    pub turn: Option<Turn>,
}

/// The answer in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on. Whatever takes nothing (a refund, a reset) is answered so, too.
    Allowed,
    /// Not now.
    Denied,
    /// Nobody can say: Redis is away, and the limiter is not to guess.
    Unavailable,
}

/// Who gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Redis; or a denial of its, remembered.
    Redis,
    /// This node alone.
    Fallback,
}

/// A change of who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// From here on this node answers alone.
    Away,
    /// From here on Redis answers again.
    Back,
}
