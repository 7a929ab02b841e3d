//! A request to a shared limiter, and its response.

use std::sync::Arc;

use rate_limiter_core::{Answer, Change, Key, Scale, Select, Tag};

use crate::call::{Op, Receipt, RequestId};

/// One request about one id.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The id's hash in this node.
    pub key: Key,
    /// The id's key for the authority, the same on all nodes.
    pub name: Arc<[u8]>,
    /// The selected windows.
    pub select: Select<'a>,
    /// The limits of the windows.
    pub limits: Limits,
    /// The operation.
    pub op: Op,
    /// The cost to take or to give back.
    pub cost: u64,
    /// Names the request, so that repeating it is not charged again.
    pub request_id: Option<RequestId>,
    /// For a refund: the call of which the cost is given back.
    pub receipt: Option<Receipt>,
}

/// The limits under which a request is decided.
#[derive(Clone, Debug, Default)]
pub enum Limits {
    /// Those of the limiter.
    #[default]
    Own,
    /// Those of the plan with this name, see [`SharedLimiter::put_plans`](crate::SharedLimiter::put_plans).
    Plan(Key),
    /// Those of the limiter with these changes.
    Changed(Vec<Change>),
}

/// The response to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The decision.
    pub verdict: Verdict,
    /// Where the decision was made.
    pub source: Source,
    /// Usage of each window; `None` if the verdict is unavailable.
    pub answer: Option<Answer>,
    /// The factor on all limits under which it was decided.
    pub scale: Scale,
    /// The windows of which the key has passed the threshold with this request.
    pub passed: Vec<Tag>,
    /// The window for which the response counts, if the request was to take.
    pub counts_for: Option<Tag>,
    /// The receipt of a call that the authority has charged.
    pub receipt: Option<Receipt>,
    /// The new source, in the one response with which decisions moved from the authority to this node or back.
    pub switched_to: Option<Source>,
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is admitted. Also the verdict of requests that take nothing, such as a refund or a reset.
    Allowed,
    /// The limit is exceeded.
    Denied,
    /// The authority is away, and the limiter is configured to give no answer of its own.
    Unavailable,
}

/// Where a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By the authority; or a denial of its own that is remembered here.
    Authority,
    /// By this node alone.
    Fallback,
}
