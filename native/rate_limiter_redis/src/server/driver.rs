//! The task of a server: sends queued calls, hands out replies, keeps deadlines, and drives the breaker.

mod connect;
mod events;
mod replies;
mod timers;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rate_limiter_distributed::breaker::{Breaker, State};
use rate_limiter_distributed::Call;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::batch::Batch;
use super::health_check::health_check;
use super::pooled_connection::{PoolEvent, PooledConnection};
use super::recent::Tally;
use super::status::LiveStatus;
use crate::context::{count, Context};
use crate::credentials::Credentials;
use crate::pending::{Pending, Submission};
use crate::server_kind::ServerKind;
use crate::slot;
use crate::wire::lean;

/// The maximum number of calls in one batch.
const MAX_BATCH: usize = 1024;

/// The maximum number of times that a call is redirected.
const MAX_REDIRECTS: u8 = 8;

/// The delay of a call whose slot is moving.
const MOVING_SLOT_DELAY: Duration = Duration::from_millis(3);

/// The time without a reply, counted from sending a batch, after which a connection is replaced while the breaker is
/// closed.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the general script decides all calls after the lean one has left some to it, or the server had lost it. While
/// nodes judge a key by several limits, as during a deployment, each call about it would else take two round trips.
const GENERAL_PERIOD: Duration = Duration::from_secs(1);

/// The pause between attempts to connect, while other connections to the server are up.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Driver {
    context: Arc<Context>,
    status: Arc<LiveStatus>,
    kind: ServerKind,
    health_check: Arc<Call>,
    submissions: mpsc::UnboundedReceiver<Submission>,
    credentials: watch::Receiver<Credentials>,
    breaker: Breaker,
    pool: Vec<PooledConnection>,
    /// Calls to send, oldest first.
    queue: VecDeque<Pending>,
    /// Calls to send at a later time, because their slot is moving.
    delayed: Vec<(Instant, Pending)>,
    /// Until when the general script decides all calls.
    general_until: Option<Instant>,
    /// The time for which the timer is set.
    alarm: Option<Instant>,
    /// Whether the timer of the next batch is set.
    is_paced: bool,
    /// Whether the status shows a problem.
    has_problem: bool,
    /// What was answered and what failed since the status was published.
    tally: Tally,
}

impl Driver {
    pub(super) fn new(
        context: Arc<Context>,
        status: Arc<LiveStatus>,
        kind: ServerKind,
        submissions: mpsc::UnboundedReceiver<Submission>,
    ) -> Self {
        let pool = std::iter::repeat_with(PooledConnection::default);
        Self {
            pool: pool.take(context.connections).collect(),
            health_check: Arc::new(health_check(&context.prefix, kind.slot())),
            credentials: context.credentials.subscribe(),
            context,
            status,
            kind,
            submissions,
            breaker: Breaker::default(),
            queue: VecDeque::new(),
            delayed: Vec::new(),
            general_until: None,
            alarm: None,
            is_paced: false,
            has_problem: false,
            tally: Tally::default(),
        }
    }

    /// Runs until all handles of the server are dropped.
    pub(super) async fn run(mut self) {
        let mut timer = pin!(sleep_until(Instant::now().into()));
        let mut pace = pin!(sleep_until(Instant::now().into()));
        loop {
            let now = Instant::now();
            self.connect(now);
            self.send(now);
            self.set_alarm(now, timer.as_mut());
            self.set_pace(now, pace.as_mut());
            self.publish_status(now);
            let is_receiving = self.is_receiving(now);
            let (pool, alarm, is_paced) = (&mut self.pool, self.alarm, self.is_paced);
            tokio::select! {
                biased;
                (at, event) = next_event(pool) => self.handle(at, event),
                submission = self.submissions.recv(), if is_receiving => match submission {
                    Some(submission) => self.enqueue(submission),
                    None => return,
                },
                Ok(()) = self.credentials.changed() => self.credentials_changed(),
                () = timer.as_mut(), if alarm.is_some() => self.alarm_fired(),
                () = pace.as_mut(), if is_paced => self.is_paced = false,
            }
        }
    }

    /// Returns whether to receive submissions. While batches are in flight and no other one can be sent, calls stay in
    /// the channel: then submitting one does not wake this task.
    fn is_receiving(&self, now: Instant) -> bool {
        let mut batches = self.pool.iter().flat_map(|pooled| &pooled.batches);
        let in_flight = batches.any(|batch| batch.unanswered > 0);
        !in_flight || self.open_connection(now).is_some()
    }

    /// Returns a connection that takes a batch now, an idle one if there is one.
    fn open_connection(&self, now: Instant) -> Option<usize> {
        let open = self.pool.iter().enumerate();
        let open = open.filter(|(_, pooled)| pooled.open(now).is_some());
        open.min_by_key(|(_, pooled)| pooled.batches.len())
            .map(|(at, _)| at)
    }

    fn enqueue(&mut self, submission: Submission) {
        match submission {
            Submission::One(pending) => self.enqueue_one(pending),
            Submission::Many(calls) => calls.into_iter().for_each(|call| self.enqueue_one(call)),
        }
    }

    fn enqueue_one(&mut self, pending: Pending) {
        // Counted here, on one thread, and not where all schedulers would write the counter.
        count(
            &self.context.counts.calls,
            usize::from(pending.redirects == 0),
        );
        if self.breaker.state() != State::Closed {
            self.status.dequeue(1);
            self.not_sent(1);
            drop(pending);
        } else if pending.redirects > 0 {
            // It has already waited in another server's queue.
            self.alarm = None;
            self.queue.push_front(pending);
        } else {
            self.queue.push_back(pending);
        }
    }

    /// Drains the channel without waiting, until the queue has `max_queue` calls.
    fn receive_up_to(&mut self, max_queue: usize) {
        while self.queue.len() < max_queue {
            match self.submissions.try_recv() {
                Ok(submission) => self.enqueue(submission),
                Err(_) => break,
            }
        }
    }

    /// Sends queued calls on all connections that take another batch.
    fn send(&mut self, now: Instant) {
        if self.breaker.state() != State::Closed {
            return;
        }
        self.requeue_delayed(now);
        while let Some(at) = self.open_connection(now) {
            self.receive_up_to(MAX_BATCH);
            self.expire_queued(now);
            if self.queue.is_empty() || self.breaker.state() != State::Closed {
                return;
            }
            let calls: Vec<_> = self
                .queue
                .drain(..self.queue.len().min(MAX_BATCH))
                .collect();
            self.status.dequeue(calls.len());
            let lean = self.is_lean(at, &calls, now);
            let pooled = &mut self.pool[at];
            if let Some(connection) = pooled.open(now) {
                let batch = Batch::send(calls, connection, self.kind.is_shard(), lean, now);
                pooled.batches.push(batch);
                count(&self.context.counts.batches, 1);
            }
        }
    }

    /// Returns whether the lean script decides calls over this connection. If the server may not have it, loads it for the
    /// first call that could use it.
    fn is_lean(&mut self, at: usize, calls: &[Pending], now: Instant) -> bool {
        if self.general_until.is_some_and(|until| now < until) {
            return false;
        }
        self.general_until = None;
        let pooled = &mut self.pool[at];
        if pooled.can_load_lean() {
            let mut calls = calls.iter().filter_map(Pending::as_call);
            let call = calls.find(|call| lean::window(call).is_some());
            if let (Some(call), Some(connection)) = (call, pooled.connection.clone()) {
                let slot = self.kind.is_shard().then(|| slot::of(&call.key));
                let health_check = health_check(&self.context.prefix, slot);
                pooled.load_lean(async move { connection.load_lean(&health_check).await });
            }
        }
        pooled.is_lean()
    }

    fn handle(&mut self, at: usize, event: PoolEvent) {
        match event {
            PoolEvent::Replied(batch, replies) => self.replied(at, *batch, replies),
            PoolEvent::Connected(Ok((connection, end))) => self.connected(at, connection, end),
            PoolEvent::Connected(Err(error)) => self.connect_failed(at, &error),
            PoolEvent::Loaded(Ok(())) => {}
            PoolEvent::Loaded(Err(error)) => self.disconnected(at, error.reason()),
            PoolEvent::Closed => self.disconnected(at, "closed by the other side"),
        }
    }
}

async fn next_event(pool: &mut [PooledConnection]) -> (usize, PoolEvent) {
    poll_fn(|context| {
        for (at, pooled) in pool.iter_mut().enumerate() {
            if let Poll::Ready(event) = pooled.poll(context) {
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    })
    .await
}
