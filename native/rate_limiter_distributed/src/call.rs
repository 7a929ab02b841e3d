//! A call to the authority, and its reply.

use std::sync::Arc;

use rate_limiter_core::{Nanos, Scale, Snapshot, Usage};

use crate::meter::Meter;

/// One call about one id. Its windows are decided together: all or nothing.
#[derive(Clone, Debug)]
pub struct Call {
    /// The id's key, the same on all nodes.
    pub key: Arc<[u8]>,
    /// The operation.
    pub op: Op,
    /// The cost to take or to give back.
    pub cost: u64,
    /// The factor on all limits.
    pub scale: Scale,
    /// The selected windows in the plan's order, at least one.
    pub windows: Box<[WindowCall]>,
    /// Names the call. A call of the same name is not charged again once one of them was admitted.
    pub request_id: Option<RequestId>,
    /// For a refund: the call of which the cost is given back. At most what still counts of that call, and in all what it
    /// was charged.
    pub receipt: Option<Receipt>,
    /// Calls with a name that this node admitted during an outage, to be charged unless one of the name was already.
    pub named: Vec<NamedCharge>,
}

/// A call with a name that a node admitted during an outage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCharge {
    /// Its name.
    pub request_id: RequestId,
    /// Its cost.
    pub cost: u64,
    /// When it was admitted, on the authority's clock as the node knew it.
    pub at: Nanos,
    /// Whether each window of the call that reports it was its own, too.
    pub is_own: Vec<bool>,
    /// What it has taken of each window of that call, where it still counts.
    pub taken: Vec<Option<Snapshot>>,
}

/// Names a call that the authority has charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The authority's time of the call.
    pub at: Nanos,
    /// The call's number, unique for its key and time. 0 if nothing was charged.
    pub serial: u64,
    /// The cost that was charged.
    pub charged: u64,
}

/// The effect of a call on its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Takes the cost from every window, or from none.
    Take,
    /// Answers as `Take` would, and takes nothing.
    Peek,
    /// Gives back the cost, up to what was used.
    Refund,
    /// Forgets all usage.
    Reset,
}

/// The name of a call, remembered once the call is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Chosen by the caller.
    pub id: Box<[u8]>,
    /// How long it is remembered.
    pub keep: Nanos,
}

/// One window of a call.
#[derive(Clone, Debug)]
pub struct WindowCall {
    /// The window's limit in portable numbers.
    pub meter: Arc<Meter>,
    /// Usage that this node knows and the authority may not.
    pub charge: Option<Charge>,
}

/// Usage that the authority has to count before it decides the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The state last reported by the authority. If it has less now, it lost data, and this is restored, unless it knows
    /// of a reset or refund after `since`: that is what has lowered the usage.
    pub at_least: Option<Snapshot>,
    /// The authority reported it at this time or later.
    pub since: Nanos,
    /// Usage that this node admitted during an outage, to add on top, unless the window was reset after `until`.
    pub taken: Option<Snapshot>,
    /// The node admitted it at this time or earlier, on the authority's clock as it knew it.
    pub until: Nanos,
}

/// The authority's answer to a call that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The authority's time since 1970.
    pub now: Nanos,
    /// Whether the call was a repetition, and took nothing.
    pub repeated: bool,
    /// One for each window of the call, in the same order.
    pub windows: Vec<WindowReply>,
}

/// The part of a reply about one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowReply {
    /// The usage after the call if it was allowed, else now.
    pub usage: Usage,
    /// The state after the call, from which this node can continue alone.
    pub state: Snapshot,
}
