//! Calls in flight on one connection, grouped by command.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use rate_limiter_distributed::{Call, Failure};
use redis::Cmd;

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
    /// Sends calls. In a cluster (`sharded`), only calls of one slot share a command.
    pub(super) fn send(
        calls: Vec<Pending>,
        connection: &Arc<Connection>,
        sharded: bool,
        now: Instant,
    ) -> Self {
        let count = calls.len();
        let mut groups = group(calls, sharded);
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
    fn of(pending: Pending) -> Self {
        Self {
            asking: pending.asking,
            calls: vec![pending],
        }
    }

    fn command(&self) -> Cmd {
        match self.calls[0].payload() {
            Payload::Call(..) => wire::encode(self.limiter_calls(), None),
            Payload::Command(command, _) => self.calls[0].encoded(command),
        }
    }

    pub(super) fn is_limiter_calls(&self) -> bool {
        self.calls[0].as_call().is_some()
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

    /// Answers all calls from the reply to their command.
    pub(super) fn answer(&mut self, reply: redis::Value) -> Decoded {
        if !self.is_limiter_calls() {
            self.calls[0].value(reply);
            return Decoded::All { foreign: 0 };
        }
        let replies = wire::decode(self.limiter_calls(), &reply);
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

    /// Returns the calls of a command that did not run, without those that are answered or late.
    pub(super) fn into_unsent(mut self, now: Instant) -> Vec<Pending> {
        for pending in &mut self.calls {
            pending.sent = false;
        }
        let open = |pending: &Pending| !pending.is_answered() && pending.deadline > now;
        self.calls.into_iter().filter(open).collect()
    }
}

/// Divides calls among commands. Calls that share a command keep their order.
fn group(mut calls: Vec<Pending>, sharded: bool) -> Vec<Group> {
    if sharded {
        // A stable sort, so that calls about one key keep their order.
        calls.sort_by_cached_key(|pending| slot::of(pending.key()));
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut open_slot: Option<u16> = None;
    for pending in calls {
        let slot = if sharded { slot::of(pending.key()) } else { 0 };
        let can_share = pending.as_call().is_some() && !pending.alone && !pending.asking;
        match groups.last_mut() {
            Some(group)
                if can_share && open_slot == Some(slot) && group.calls.len() < MAX_GROUP =>
            {
                group.calls.push(pending);
            }
            _ => {
                open_slot = can_share.then_some(slot);
                groups.push(Group::of(pending));
            }
        }
    }
    groups
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
            let groups = group(calls, false);
            prop_assert_eq!(groups.len(), ids.len().div_ceil(MAX_GROUP));
            prop_assert_eq!(keys(&groups), before);
        }

        #[test]
        fn a_command_to_a_cluster_has_keys_of_one_slot(ids in prop::collection::vec(0_u64..40, 1..999)) {
            let groups = group(ids.iter().map(|id| call(*id)).collect(), true);
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
        let groups = group(calls, false);
        let sizes: Vec<_> = groups.iter().map(|group| group.calls.len()).collect();
        assert_eq!(sizes, [1, 1, 1, 1, 1, 2]);
        assert!(groups[4].asking && !groups[3].asking);
    }
}
