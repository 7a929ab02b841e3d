//! Replies: answer the calls, send them again, redirect them, or count them as failed.

use std::time::{Duration, Instant};
use std::vec;

use rate_limiter_distributed::breaker::State;
use rate_limiter_distributed::Failure;
use redis::{RedisError, Value};

use super::{Driver, GENERAL_PERIOD, MAX_REDIRECTS, MOVING_SLOT_DELAY};
use crate::connection::Replies;
use crate::context::count;
use crate::error::{server_error, Recovery, ServerError};
use crate::latency::LiveLatency;
use crate::pending::Pending;
use crate::server::batch::{unsent, Batch, Decoded, Group};
use crate::server::health_check::health_check;
use crate::server_kind::TopologyEvent;
use crate::slot;

impl Driver {
    pub(super) fn replied(&mut self, at: usize, mut batch: Batch, replies: Replies) {
        let now = Instant::now();
        self.observe_round_trip(at, now - batch.sent, replies.is_ok());
        let mut failure = (batch.unanswered == 0).then(|| Box::from("timeout"));
        let mut replies = replies.map(Vec::into_iter);
        for group in std::mem::take(&mut batch.groups) {
            let failed = match next_reply(&mut replies, group.asking) {
                Ok(value) => self.answer(group, value, now),
                Err(error) => self.recover(at, group, &error, now),
            };
            failure = failure.or(failed);
        }
        self.report_batch(&batch, now, failure.as_deref());
    }

    fn observe_round_trip(&mut self, at: usize, round_trip: Duration, is_reply: bool) {
        if is_reply {
            self.pool[at].observe(round_trip);
            self.status.set_round_trip(self.pool[at].round_trip);
        }
    }

    /// Answers the calls of a command. Returns the code of a failure.
    fn answer(&mut self, mut group: Group, value: Value, now: Instant) -> Option<Box<str>> {
        let left = group.take_left(&value);
        if !left.is_empty() {
            self.general_until = Some(now + GENERAL_PERIOD);
            self.resend(left, now);
        }
        self.record(&self.status.answered, &group, now);
        let unanswered = group.unanswered();
        match group.answer(value) {
            Decoded::All { foreign } => {
                self.count_answered(unanswered);
                self.succeeded();
                (foreign > 0).then(|| self.found_foreign(foreign))
            }
            Decoded::Incomplete => {
                let reason = "the script's reply cannot be read";
                self.count_failed(unanswered, &reason);
                self.failed(now, &reason);
                Some("reply".into())
            }
        }
    }

    /// Handles an error of a command as [`Recovery`] says. Returns the code of a failure.
    fn recover(
        &mut self,
        at: usize,
        mut group: Group,
        error: &RedisError,
        now: Instant,
    ) -> Option<Box<str>> {
        match Recovery::of(error) {
            Recovery::LoadScript if group.is_limiter_calls() => {
                if group.is_lean {
                    self.pool[at].lost_lean();
                    self.general_until = Some(now + GENERAL_PERIOD);
                }
                // A server that has lost one script has lost the other.
                self.load_script(at, &group);
                self.resend(group.calls, now);
                None
            }
            Recovery::LoadScript if group.calls[0].add_source() => {
                self.resend(group.calls, now);
                None
            }
            Recovery::Redirect {
                address,
                slot,
                asking,
            } if self.kind.is_shard() => {
                self.redirect(group, address, slot, asking);
                None
            }
            Recovery::Delay => {
                self.delay(group, now);
                None
            }
            Recovery::Reconnect(reason) => Some(self.broken(at, group, &reason, now)),
            Recovery::Refuse(error) => Some(self.refused(at, group, error, now)),
            Recovery::LoadScript | Recovery::Redirect { .. } => {
                let error = server_error(error)?;
                Some(self.refused(at, group, error, now))
            }
        }
    }

    /// Records how long the calls have waited that end now.
    fn record(&self, latency: &LiveLatency, group: &Group, now: Instant) {
        if !group.is_limiter_calls() {
            return;
        }
        for pending in group.calls.iter().filter(|pending| !pending.is_answered()) {
            let left = pending.deadline.saturating_duration_since(now);
            latency.record(1, self.context.timeout.saturating_sub(left));
        }
    }

    /// Reports calls that found a value of another program. The server works, so the breaker stays closed; these calls
    /// are answered by this node until someone deletes the key.
    fn found_foreign(&mut self, calls: usize) -> Box<str> {
        count(&self.context.counts.refused, calls);
        let problem = format!(
            "WRONGTYPE a key that begins with {} holds what no limiter wrote: delete it, and give limits a prefix or a \
             database of their own",
            self.context.prefix
        );
        self.set_problem(Some(&problem));
        "WRONGTYPE".into()
    }

    /// Loads the script, by a health check in the slot of these calls: this server has it, or imports it.
    fn load_script(&mut self, at: usize, group: &Group) {
        let pooled = &mut self.pool[at];
        let Some(connection) = pooled.connection.clone() else {
            return;
        };
        let slot = self.kind.is_shard().then(|| slot::of(group.calls[0].key()));
        let (health_check, kind) = (health_check(&self.context.prefix, slot), self.kind.clone());
        let asking = group.asking;
        pooled.load(async move {
            let reply = connection.load(&health_check, asking).await;
            connection.check_reply(reply, &health_check, &kind).await
        });
    }

    /// Puts calls that did not run back at the front of the queue.
    fn resend(&mut self, calls: Vec<Pending>, now: Instant) {
        let calls = self.take_unsent(calls, now);
        self.status.enqueue(calls.len());
        for pending in calls.into_iter().rev() {
            self.queue.push_front(pending);
        }
        self.alarm = None;
    }

    /// Returns those of calls that did not run that can still be sent.
    fn take_unsent(&mut self, calls: Vec<Pending>, now: Instant) -> Vec<Pending> {
        let mut calls = unsent(calls, now);
        if self.breaker.state() != State::Closed {
            self.not_sent(calls.len());
            calls.clear();
        }
        calls
    }

    /// Sends calls again after a short delay, each in a command of its own.
    fn delay(&mut self, group: Group, now: Instant) {
        for mut pending in self.take_unsent(group.calls, now) {
            pending.alone = true;
            let due = (now + MOVING_SLOT_DELAY).min(pending.deadline);
            self.delayed.push((due, pending));
        }
        self.alarm = None;
    }

    fn redirect(&mut self, group: Group, address: String, slot: u16, asking: bool) {
        let mut calls = unsent(group.calls, Instant::now());
        for pending in &mut calls {
            pending.redirects += 1;
            pending.asking = asking;
        }
        calls.retain(|pending| pending.redirects <= MAX_REDIRECTS);
        self.kind.report(TopologyEvent::Redirected {
            pending: calls,
            address,
            from: self.status.endpoint.clone(),
            slot,
            asking,
        });
    }

    fn broken(&mut self, at: usize, mut group: Group, reason: &str, now: Instant) -> Box<str> {
        self.record(&self.status.failed, &group, now);
        self.disconnect(at, reason);
        let lost = group.fail(&Failure::Lost);
        self.count_failed(lost, &reason);
        // One failure, however many calls were in flight: the server may work, and is tried at once.
        self.failed(now, &reason);
        "closed".into()
    }

    fn refused(
        &mut self,
        at: usize,
        mut group: Group,
        error: ServerError,
        now: Instant,
    ) -> Box<str> {
        let ServerError { code, message } = error;
        self.record(&self.status.failed, &group, now);
        let refused = group.fail(&Failure::Refused {
            code: code.clone(),
            message: message.clone(),
        });
        count(&self.context.counts.refused, refused);
        self.set_problem(Some(&message));
        // An error that concerns this command alone, and not the server: calls continue.
        if !group.is_limiter_calls() && matches!(&*code, "ERR" | "NOPERM" | "WRONGTYPE") {
            self.count_answered(refused);
            return code;
        }
        self.count_failed(refused, &message);
        for _ in 0..refused {
            self.failed(now, &message);
        }
        match &*code {
            // Another server is primary now, or the user was signed out.
            "READONLY" | "NOAUTH" => self.disconnect(at, &message),
            "CLUSTERDOWN" | "MASTERDOWN" | "LOADING" => self.rediscover(),
            _ => {}
        }
        code
    }
}

/// Returns the reply to the next command, and skips that to its `ASKING`.
fn next_reply(
    replies: &mut Result<vec::IntoIter<Value>, RedisError>,
    asking: bool,
) -> Result<Value, RedisError> {
    let replies = replies.as_mut().map_err(|error| error.clone())?;
    if asking {
        replies.next();
    }
    replies.next().unwrap_or(Value::Nil).extract_error()
}
