//! Calls in the air, and to which command each belongs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use redis::Cmd;

use crate::connection::{Connection, Replies};
use crate::ticket::{Ask, Ticket};
use crate::topology::slot;
use crate::wire;
use rate_limiter_distributed::{Call, Failure};

/// Calls that one command decides at most: longer ones would keep the server from everybody else.
const GROUP: usize = 256;

/// Commands that went together.
pub(super) struct Flight {
    pub(super) groups: Vec<Group>,
    pub(super) sent: Instant,
    pub(super) calls: usize,
    /// Those not answered yet.
    pub(super) live: usize,
    replies: Pin<Box<dyn Future<Output = Replies> + Send>>,
}

/// The calls of one command.
pub(super) struct Group {
    pub(super) tickets: Vec<Ticket>,
    /// Whether the command is preceded by one that asks to be served while the slot is moving.
    pub(super) asking: bool,
}

/// What a reply said about the calls of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Something about each of them; of so many, that a key of theirs holds what is none of ours.
    All { foreign: usize },
    /// Not about each of them, or not what can be read.
    Less,
}

impl Flight {
    /// Sends. In a cluster, `sharded`, only calls of one slot share a command.
    pub(super) fn start(
        tickets: Vec<Ticket>,
        connection: &Arc<Connection>,
        sharded: bool,
        now: Instant,
    ) -> Self {
        let calls = tickets.len();
        let mut groups = group(tickets, sharded);
        let mut commands = Vec::with_capacity(groups.len());
        for group in &mut groups {
            if group.asking {
                commands.push(redis::cmd("ASKING"));
            }
            commands.push(group.command());
            for ticket in &mut group.tickets {
                ticket.sent = true;
            }
        }
        Self {
            groups,
            sent: now,
            calls,
            live: calls,
            replies: connection.fly(commands),
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Replies> {
        self.replies.as_mut().poll(context)
    }

    /// When the first of those that are not answered must be.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let live = self.tickets().filter(|ticket| !ticket.is_answered());
        live.map(|ticket| ticket.deadline).min()
    }

    /// Tells those whose deadline has come that there is no answer. Returns how many.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        if self.live == 0 {
            return 0;
        }
        let mut expired = 0;
        for ticket in self.groups.iter_mut().flat_map(|group| &mut group.tickets) {
            if ticket.deadline <= now && !ticket.is_answered() {
                ticket.give_up();
                expired += 1;
            }
        }
        self.live -= expired;
        expired
    }

    fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.groups.iter().flat_map(|group| &group.tickets)
    }
}

impl Group {
    fn of(ticket: Ticket) -> Self {
        Self {
            asking: ticket.asking,
            tickets: vec![ticket],
        }
    }

    fn command(&self) -> Cmd {
        match self.tickets[0].ask() {
            Ask::Call(..) => wire::encode(self.calls(), None),
            Ask::Command(command, _) => {
                let mut words = Cmd::new();
                for word in &command.words {
                    words.arg(word.as_slice());
                }
                words
            }
        }
    }

    /// The calls, if that is what it holds: then nothing else.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> + Clone {
        let call = |ticket| Ticket::as_call(ticket).expect("a group of calls holds nothing else");
        self.tickets.iter().map(call)
    }
}

/// Divides calls among commands, keeping the order of those that share one.
fn group(mut tickets: Vec<Ticket>, sharded: bool) -> Vec<Group> {
    if sharded {
        // Stable: calls about one key stay in order.
        tickets.sort_by_cached_key(|ticket| slot::of(ticket.key()));
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut open: Option<u16> = None;
    for ticket in tickets {
        let home = if sharded { slot::of(ticket.key()) } else { 0 };
        let shareable = ticket.as_call().is_some() && !ticket.alone && !ticket.asking;
        match groups.last_mut() {
            Some(group) if shareable && open == Some(home) && group.tickets.len() < GROUP => {
                group.tickets.push(ticket);
            }
            _ => {
                open = shareable.then_some(home);
                groups.push(Group::of(ticket));
            }
        }
    }
    groups
}

impl Group {
    /// Hands out the reply to its command.
    pub(super) fn answer(&mut self, reply: redis::Value) -> Said {
        if !self.calls_only() {
            self.tickets[0].value(reply);
            return Said::All { foreign: 0 };
        }
        let replies = wire::decode(self.calls(), &reply);
        let (mut lost, mut foreign) = (false, 0);
        for (ticket, reply) in self.tickets.iter_mut().zip(replies) {
            lost |= matches!(reply, Err(Failure::Lost));
            foreign += usize::from(matches!(reply, Err(Failure::Foreign(_))));
            ticket.reply(reply);
        }
        if lost {
            Said::Less
        } else {
            Said::All { foreign }
        }
    }

    /// Tells all that are not answered the same. Returns how many those were.
    pub(super) fn fail(&mut self, failure: &Failure) -> usize {
        let mut told = 0;
        for ticket in self
            .tickets
            .iter_mut()
            .filter(|ticket| !ticket.is_answered())
        {
            ticket.fail(failure.clone());
            told += 1;
        }
        told
    }

    /// They were not run. Leaves those for whom there is still time.
    pub(super) fn unsent(mut self, now: Instant) -> Vec<Ticket> {
        for ticket in &mut self.tickets {
            ticket.sent = false;
        }
        let open = |ticket: &Ticket| !ticket.is_answered() && ticket.deadline > now;
        self.tickets.into_iter().filter(open).collect()
    }

    pub(super) fn calls_only(&self) -> bool {
        self.tickets[0].as_call().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::command::Command;
    use crate::lane::probe::probe;

    fn call(id: u64) -> Ticket {
        let mut call = probe("test", None);
        call.key = format!("test:{{{id}}}").into_bytes().into();
        Ticket::call(
            call,
            Box::new(drop),
            Instant::now() + Duration::from_secs(9),
        )
    }

    fn command() -> Ticket {
        let command = Command {
            key: Arc::from(*b"beat"),
            words: vec![b"PING".to_vec()],
        };
        Ticket::command(command, Box::new(drop), Instant::now())
    }

    fn keys(groups: &[Group]) -> Vec<Vec<u8>> {
        let tickets = groups.iter().flat_map(|group| &group.tickets);
        tickets.map(|ticket| ticket.key().to_vec()).collect()
    }

    proptest! {
        #[test]
        fn with_one_server_calls_keep_their_order(ids in prop::collection::vec(0_u64..9, 1..999)) {
            let tickets: Vec<_> = ids.iter().map(|id| call(*id)).collect();
            let before: Vec<_> = tickets.iter().map(|ticket| ticket.key().to_vec()).collect();
            let groups = group(tickets, false);
            prop_assert_eq!(groups.len(), ids.len().div_ceil(GROUP));
            prop_assert_eq!(keys(&groups), before);
        }

        #[test]
        fn in_a_cluster_a_command_has_one_slot(ids in prop::collection::vec(0_u64..40, 1..999)) {
            let groups = group(ids.iter().map(|id| call(*id)).collect(), true);
            let mut homes = Vec::new();
            for group in &groups {
                let of = |ticket: &Ticket| slot::of(ticket.key());
                homes.push(of(&group.tickets[0]));
                prop_assert!(group.tickets.iter().all(|ticket| of(ticket) == homes[homes.len() - 1]));
            }
            homes.dedup();
            let distinct: std::collections::HashSet<_> = homes.iter().collect();
            prop_assert_eq!(distinct.len(), homes.len());
            prop_assert_eq!(keys(&groups).len(), ids.len());
        }
    }

    #[test]
    fn what_cannot_share_a_command_does_not() {
        let alone = |asking: bool| {
            let mut ticket = call(1);
            (ticket.alone, ticket.asking) = (!asking, asking);
            ticket
        };
        let tickets = vec![
            call(1),
            command(),
            call(1),
            alone(false),
            alone(true),
            call(1),
            call(1),
        ];
        let groups = group(tickets, false);
        let sizes: Vec<_> = groups.iter().map(|group| group.tickets.len()).collect();
        assert_eq!(sizes, [1, 1, 1, 1, 1, 2]);
        assert!(groups[4].asking && !groups[3].asking);
    }
}
