//! Membership: each node writes a heartbeat with its share of the limits, and reads the heartbeats of the others.

mod incarnation;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use rate_limiter_distributed::{Failure, Members, Share};
use redis::Value;

use crate::client::Client;
use crate::command::Command;
use crate::script;

use incarnation::Incarnation;

/// The heartbeat of one node, which keeps its [`Members`] up to date.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: Arc<[u8]>,
    members: Arc<Members>,
    incarnation: Incarnation,
    /// Whether a heartbeat was answered.
    joined: AtomicBool,
    /// The incarnations of processes of this machine that ended without a farewell.
    ended: Mutex<String>,
    /// Why the last heartbeat was refused, if it was.
    problem: Mutex<Option<String>>,
}

/// The reply to a heartbeat.
struct Report {
    nodes: u32,
    grant: Share,
    ended: String,
}

impl Heartbeat {
    /// Creates the heartbeat of the nodes that share `prefix`. A name with a space is written without it.
    #[must_use]
    pub fn new(prefix: &str, members: Arc<Members>) -> Self {
        Self(Arc::new(Inner {
            key: format!("{prefix}:{{nodes}}").into_bytes().into(),
            members,
            incarnation: Incarnation::random(),
            joined: AtomicBool::new(false),
            ended: Mutex::default(),
            problem: Mutex::default(),
        }))
    }

    /// Sends a heartbeat, whose reply has the number of live nodes and this node's share. If the share changes, sends
    /// another one, so that the former share is free for the others. Must be called several times within
    /// [`Members::keep`](rate_limiter_distributed::Members::keep), after which a silent node counts as gone, and more
    /// often until [`Members::is_settled`](rate_limiter_distributed::Members::is_settled).
    pub fn beat(&self, client: &Arc<Client>) -> Result<(), Failure> {
        let (heartbeat, weak) = (self.clone(), Arc::downgrade(client));
        let has_joined = self.0.joined.load(Ordering::Relaxed);
        let done = move |reply| {
            if let Some(client) = weak.upgrade() {
                heartbeat.answered(reply, &client);
            }
        };
        let action = if has_joined { "stay" } else { "join" };
        client.command(self.command(action), Box::new(done))
    }

    /// Removes this node, so that the others get its share soon.
    pub fn leave(&self, client: &Client) -> Result<(), Failure> {
        client.command(self.command("leave"), Box::new(drop))
    }

    /// Returns why Redis refuses the heartbeats, if it does. Then the nodes do not know each other.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.problem.lock().clone()
    }

    fn answered(&self, reply: Result<Value, Failure>, client: &Arc<Client>) {
        let inner = &*self.0;
        match reply.map(|value| inner.read(&value)) {
            Ok(Some(report)) => {
                inner.joined.store(true, Ordering::Relaxed);
                self.set_problem(None, client);
                let has_ended = !report.ended.is_empty();
                *inner.ended.lock() = report.ended;
                if inner.members.report(report.nodes, report.grant) || has_ended {
                    let _away = self.beat(client);
                }
            }
            Ok(None) => self.set_problem(Some("the reply to a heartbeat cannot be read"), client),
            Err(Failure::Refused { message, .. }) => self.set_problem(Some(&message), client),
            // In an outage there is nothing to report about heartbeats.
            Err(_) => {}
        }
    }

    fn set_problem(&self, problem: Option<&str>, client: &Client) {
        let mut known = self.0.problem.lock();
        if known.as_deref() != problem {
            *known = problem.map(str::to_owned);
            drop(known);
            client.observe_heartbeat(problem);
        }
    }

    fn command(&self, action: &str) -> Command {
        let Inner {
            key,
            members,
            incarnation,
            ended,
            ..
        } = &*self.0;
        let node = String::from_utf8_lossy(members.node()).replace(char::is_whitespace, "");
        let share = members.share();
        let words: Vec<Vec<u8>> = vec![
            b"EVAL".to_vec(),
            script::MEMBERS.as_bytes().to_vec(),
            b"1".to_vec(),
            key.to_vec(),
            node.into(),
            members.keep().as_millis().to_string().into(),
            action.into(),
            incarnation.to_string().into(),
            members.wanted().to_string().into(),
            share.nodes.to_string().into(),
            share.rank.to_string().into(),
            ended.lock().clone().into(),
        ];
        Command {
            key: Arc::clone(key),
            words,
        }
    }
}

impl Inner {
    fn read(&self, reply: &Value) -> Option<Report> {
        let Value::Array(parts) = reply else {
            return None;
        };
        let [Value::Int(live), Value::Int(among), Value::Int(rank), Value::Array(others)] =
            &parts[..]
        else {
            return None;
        };
        let mut ended = String::new();
        for other in others {
            if let Value::BulkString(other) = other {
                let other = String::from_utf8_lossy(other);
                if self.incarnation.knows_as_ended(&other) {
                    ended.push_str(&other);
                    ended.push(' ');
                }
            }
        }
        Some(Report {
            nodes: u32::try_from(*live).ok()?,
            grant: Share {
                nodes: u32::try_from(*among).ok()?,
                rank: u32::try_from(*rank).ok()?,
            },
            ended,
        })
    }
}
