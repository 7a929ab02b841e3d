//! Calls in flight on one connection, grouped by command.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use rate_limiter_distributed::{Call, Failure};
use redis::{Cmd, Value};

use crate::connection::{Connection, Replies};
use crate::pending::{Payload, Pending};
use crate::{slot, wire};

/// The maximum number of calls in one command. A longer command would keep the server from all other clients.
const MAX_GROUP: usize = 256;

/// Commands that are sent together.
pub(super) struct Batch {
    pub(super) groups: Vec<Group>,
    pub(super) sent: Instant,
    pub(super) calls: usize,
    /// Calls that are not answered yet.
    pub(super) unanswered: usize,
    replies: Pin<Box<dyn Future<Output = Replies> + Send>>,
}

/// The calls of one command: either calls of limiters, or a single [`Command`](crate::Command).
pub(super) struct Group {
    pub(super) calls: Vec<Pending>,
    /// Whether the command is preceded by `ASKING`.
    pub(super) asking: bool,
    /// Whether the lean script decides the calls.
    pub(super) is_lean: bool,
}

/// What the reply to a command contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// An answer to each call. `foreign` of them found a key that holds a value of another program.
    All { foreign: usize },
    /// Fewer answers than calls, or unreadable ones.
    Incomplete,
}

impl Batch {
    /// Sends calls. In a cluster (`sharded`), only calls of one slot share a command. Calls are decided by the lean
    /// script if the server has it (`lean`).
    pub(super) fn send(
        calls: Vec<Pending>,
        connection: &Arc<Connection>,
        sharded: bool,
        lean: bool,
        now: Instant,
    ) -> Self {
        let count = calls.len();
        let mut groups = group(calls, sharded, lean);
        let mut commands = Vec::with_capacity(groups.len());
        for group in &mut groups {
            if group.asking {
                commands.push(redis::cmd("ASKING"));
            }
            commands.push(group.command());
            for pending in &mut group.calls {
                pending.sent = true;
            }
        }
        Self {
            groups,
            sent: now,
            calls: count,
            unanswered: count,
            replies: connection.send(commands),
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Replies> {
        self.replies.as_mut().poll(context)
    }

    /// Returns the earliest deadline of the unanswered calls.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let calls = self.groups.iter().flat_map(|group| &group.calls);
        let unanswered = calls.filter(|pending| !pending.is_answered());
        unanswered.map(|pending| pending.deadline).min()
    }

    /// Gives up the calls whose deadline has passed. Returns their number.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        if self.unanswered == 0 {
            return 0;
        }
        let mut expired = 0;
        for pending in self.groups.iter_mut().flat_map(|group| &mut group.calls) {
            if pending.deadline <= now && !pending.is_answered() {
                pending.give_up();
                expired += 1;
            }
        }
        self.unanswered -= expired;
        expired
    }
}

impl Group {
    fn of(pending: Pending, is_lean: bool) -> Self {
        Self {
            asking: pending.asking,
            calls: vec![pending],
            is_lean,
        }
    }

    fn command(&self) -> Cmd {
        match self.calls[0].payload() {
            Payload::Call(..) if self.is_lean => wire::lean::encode(self.limiter_calls(), None),
            Payload::Call(..) => wire::encode(self.limiter_calls(), None),
            Payload::Command(command, _) => self.calls[0].encoded(command),
        }
    }

    pub(super) fn is_limiter_calls(&self) -> bool {
        // None is left in it if the lean script has decided none.
        let first = self.calls.first();
        first.is_none_or(|pending| pending.as_call().is_some())
    }

    fn limiter_calls(&self) -> impl Iterator<Item = &Call> + Clone {
        let call = |pending| Pending::as_call(pending).expect("a command has a group of its own");
        self.calls.iter().map(call)
    }

    /// Returns the number of calls that wait for their answer.
    pub(super) fn unanswered(&self) -> usize {
        let waits = |pending: &&Pending| !pending.is_answered();
        self.calls.iter().filter(waits).count()
    }

    /// Takes out the calls that the lean script has left to the general one.
    pub(super) fn take_left(&mut self, reply: &Value) -> Vec<Pending> {
        if !self.is_lean || !wire::lean::left(reply).any(|is_left| is_left) {
            return Vec::new();
        }
        let mut left = wire::lean::left(reply);
        let is_left = |_: &mut Pending| left.next().unwrap_or(false);
        self.calls.extract_if(.., is_left).collect()
    }

    /// Answers all calls from the reply to their command.
    pub(super) fn answer(&mut self, reply: Value) -> Decoded {
        if !self.is_limiter_calls() {
            self.calls[0].value(reply);
            return Decoded::All { foreign: 0 };
        }
        let replies = if self.is_lean {
            wire::lean::decode(self.limiter_calls(), &reply)
        } else {
            wire::decode(self.limiter_calls(), &reply)
        };
        let (mut lost, mut foreign) = (false, 0);
        for (pending, reply) in self.calls.iter_mut().zip(replies) {
            lost |= matches!(reply, Err(Failure::Lost));
            foreign += usize::from(matches!(reply, Err(Failure::Foreign(_))));
            pending.reply(reply);
        }
        if lost {
            Decoded::Incomplete
        } else {
            Decoded::All { foreign }
        }
    }

    /// Reports the same failure to all unanswered calls. Returns their number.
    pub(super) fn fail(&mut self, failure: &Failure) -> usize {
        let unanswered = self.calls.iter_mut().filter(|call| !call.is_answered());
        unanswered.map(|call| call.fail(failure.clone())).count()
    }
}

/// Returns calls that did not run, without those that are answered or late.
pub(super) fn unsent(mut calls: Vec<Pending>, now: Instant) -> Vec<Pending> {
    calls.retain_mut(|pending| {
        pending.sent = false;
        !pending.is_answered() && pending.deadline > now
    });
    calls
}

/// Divides calls among commands. Calls about one id keep their order.
fn group(calls: Vec<Pending>, sharded: bool, lean: bool) -> Vec<Group> {
    let is_lean = if lean {
        lean_calls(&calls)
    } else {
        vec![false; calls.len()]
    };
    let mut calls: Vec<_> = calls.into_iter().zip(is_lean).collect();
    // A stable sort, so that calls about one id keep their order: all of them are lean, or none.
    if sharded {
        calls.sort_by_cached_key(|(pending, is_lean)| (slot::of(pending.key()), !is_lean));
    } else if lean {
        calls.sort_by_key(|(_, is_lean)| !is_lean);
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut open_slot: Option<u16> = None;
    for (pending, is_lean) in calls {
        let slot = if sharded { slot::of(pending.key()) } else { 0 };
        let can_share = pending.as_call().is_some() && !pending.alone && !pending.asking;
        let shares = |group: &Group| {
            can_share
                && open_slot == Some(slot)
                && group.is_lean == is_lean
                && group.calls.len() < MAX_GROUP
        };
        if let Some(group) = groups.last_mut().filter(|group| shares(group)) {
            group.calls.push(pending);
        } else {
            open_slot = can_share.then_some(slot);
            groups.push(Group::of(pending, is_lean));
        }
    }
    groups
}

/// Returns which calls the lean script decides: those of an id of which there is one call.
fn lean_calls(calls: &[Pending]) -> Vec<bool> {
    let can_be_lean = |pending: &Pending| {
        let window = pending.as_call().and_then(wire::lean::window);
        window.is_some() && !pending.alone && !pending.asking
    };
    let mut is_lean: Vec<bool> = calls.iter().map(can_be_lean).collect();
    if calls.len() > 1 {
        let mut first = HashMap::with_capacity(calls.len());
        for (at, pending) in calls.iter().enumerate() {
            if let Some(before) = first.insert(pending.key(), at) {
                (is_lean[before], is_lean[at]) = (false, false);
            }
        }
    }
    is_lean
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::command::Command;
    use crate::server::health_check::health_check;

    fn call(id: u64) -> Pending {
        let mut call = health_check("test", None);
        call.key = format!("test:{{{id}}}").into_bytes().into();
        let deadline = Instant::now() + Duration::from_secs(9);
        Pending::call(call, Box::new(drop), deadline)
    }

    fn command() -> Pending {
        let command = Command {
            key: Arc::from(*b"beat"),
            words: vec![b"PING".to_vec()],
        };
        Pending::command(command, Box::new(drop), Instant::now())
    }

    fn keys(groups: &[Group]) -> Vec<Vec<u8>> {
        let calls = groups.iter().flat_map(|group| &group.calls);
        calls.map(|pending| pending.key().to_vec()).collect()
    }

    proptest! {
        #[test]
        fn calls_to_a_single_server_keep_their_order(ids in prop::collection::vec(0_u64..9, 1..999)) {
            let calls: Vec<_> = ids.iter().map(|id| call(*id)).collect();
            let before: Vec<_> = calls.iter().map(|pending| pending.key().to_vec()).collect();
            let groups = group(calls, false, false);
            prop_assert_eq!(groups.len(), ids.len().div_ceil(MAX_GROUP));
            prop_assert_eq!(keys(&groups), before);
        }

        #[test]
        fn a_command_to_a_cluster_has_keys_of_one_slot(
            ids in prop::collection::vec(0_u64..40, 1..999),
            lean: bool,
        ) {
            let groups = group(ids.iter().map(|id| call(*id)).collect(), true, lean);
            let mut slots = Vec::new();
            for group in &groups {
                let of = |pending: &Pending| slot::of(pending.key());
                slots.push(of(&group.calls[0]));
                prop_assert!(group.calls.iter().all(|call| of(call) == slots[slots.len() - 1]));
            }
            slots.dedup();
            let distinct: HashSet<_> = slots.iter().collect();
            prop_assert_eq!(distinct.len(), slots.len());
            prop_assert_eq!(keys(&groups).len(), ids.len());
        }

        #[test]
        fn calls_are_lean_if_no_other_is_about_their_id(ids in prop::collection::vec(0_u64..300, 1..300), sharded: bool) {
            let key = |id: u64| call(id).key().to_vec();
            let groups = group(ids.iter().map(|id| call(*id)).collect(), sharded, true);
            let (lean, general): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.is_lean);
            let is_alone = |id: &&u64| ids.iter().filter(|other| other == id).count() == 1;
            let of = |alone: bool| ids.iter().filter(move |id| is_alone(id) == alone).map(|id| key(*id));
            let sorted = |mut keys: Vec<Vec<u8>>| { keys.sort(); keys };
            prop_assert_eq!(sorted(keys(&lean)), sorted(of(true).collect()));
            prop_assert_eq!(sorted(keys(&general)), sorted(of(false).collect()));
        }
    }

    #[test]
    fn calls_about_one_id_keep_their_order() {
        let costs = |groups: &[Group]| -> Vec<u64> {
            let calls = groups.iter().flat_map(Group::limiter_calls);
            calls.map(|call| call.cost).collect()
        };
        let with_cost = |id: u64, cost: u64| {
            let mut call = health_check("test", None);
            call.key = format!("test:{{{id}}}").into_bytes().into();
            call.cost = cost;
            Pending::call(call, Box::new(drop), Instant::now())
        };
        let calls = vec![
            with_cost(1, 1),
            with_cost(2, 2),
            with_cost(1, 3),
            with_cost(1, 4),
        ];
        assert_eq!(costs(&group(calls, false, true)), [2, 1, 3, 4]);
    }

    #[test]
    fn commands_and_redirected_calls_have_a_group_of_their_own() {
        let single = |asking: bool| {
            let mut pending = call(1);
            (pending.alone, pending.asking) = (!asking, asking);
            pending
        };
        let calls = vec![
            call(1),
            command(),
            call(1),
            single(false),
            single(true),
            call(1),
            call(1),
        ];
        let groups = group(calls, false, false);
        let sizes: Vec<_> = groups.iter().map(|group| group.calls.len()).collect();
        assert_eq!(sizes, [1, 1, 1, 1, 1, 2]);
        assert!(groups[4].asking && !groups[3].asking);
    }
}
