//! The task of a lane: sends what waits, hands out what comes back, keeps deadlines, and minds the breaker.

mod deadlines;
mod landing;
mod news;
mod raising;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::flight::Flight;
use super::line::{Event, Line};
use super::probe::probe;
use super::{Board, Parcel, Role};
use crate::context::{count, Context};
use crate::credentials::Credentials;
use crate::ticket::Ticket;
use rate_limiter_distributed::breaker::{Breaker, State};
use rate_limiter_distributed::Call;

/// Calls in one flight at most.
const CAPACITY: usize = 1024;

/// Flights in the air at once on one connection.
const DEPTH: usize = 1;

/// How often a call may be sent elsewhere before it is given up.
const HOPS: u8 = 8;

/// How long a call waits whose slot is on the move.
const MOVING: Duration = Duration::from_millis(3);

/// How long a connection may be silent on a flight, while the breaker is closed, before another is made.
const SILENCE: Duration = Duration::from_secs(1);

/// How long it waits to connect again, while other connections of the lane carry on.
const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Driver {
    context: Arc<Context>,
    board: Arc<Board>,
    role: Role,
    probe: Arc<Call>,
    queue: mpsc::UnboundedReceiver<Parcel>,
    credentials: watch::Receiver<Credentials>,
    breaker: Breaker,
    lines: Vec<Line>,
    /// Calls to be sent, the oldest first.
    waiting: VecDeque<Ticket>,
    /// Calls to be sent later: their slot is on the move.
    later: Vec<(Instant, Ticket)>,
    /// For when the timer is set.
    alarm: Option<Instant>,
    /// Whether a problem is shown.
    troubled: bool,
}

impl Driver {
    pub(super) fn new(
        context: Arc<Context>,
        board: Arc<Board>,
        role: Role,
        queue: mpsc::UnboundedReceiver<Parcel>,
    ) -> Self {
        let probe = Arc::new(probe(&context.prefix, home(&role)));
        let lines = (0..context.connections).map(|_| Line::default()).collect();
        let credentials = context.credentials.subscribe();
        Self {
            context,
            board,
            role,
            probe,
            queue,
            credentials,
            breaker: Breaker::new(),
            lines,
            waiting: VecDeque::new(),
            later: Vec::new(),
            alarm: None,
            troubled: false,
        }
    }

    /// Until nobody can leave a call any more.
    pub(super) async fn run(mut self) {
        let mut timer = pin!(sleep_until(Instant::now().into()));
        loop {
            let now = Instant::now();
            self.raise(now);
            self.depart(now);
            self.set_alarm(now, timer.as_mut());
            self.show();
            let listening = self.is_listening();
            let (lines, alarm) = (&mut self.lines, self.alarm);
            tokio::select! {
                biased;
                (number, event) = next(lines) => self.on(number, event),
                parcel = self.queue.recv(), if listening => match parcel {
                    Some(parcel) => self.gather(parcel),
                    None => return,
                },
                Ok(()) = self.credentials.changed() => self.renew(),
                () = timer.as_mut(), if alarm.is_some() => self.wake(),
            }
        }
    }

    /// Whether more calls are wanted. While flights are in the air and no other can start, they gather in the queue:
    /// whoever leaves one there wakes nobody.
    fn is_listening(&self) -> bool {
        let flying = self
            .lines
            .iter()
            .any(|line| line.flights.iter().any(|flight| flight.live > 0));
        !flying || self.free_line().is_some()
    }

    fn free_line(&self) -> Option<usize> {
        self.lines
            .iter()
            .position(|line| line.free(DEPTH).is_some())
    }

    fn gather(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::One(ticket) => self.line_up(ticket),
            Parcel::Many(tickets) => tickets.into_iter().for_each(|ticket| self.line_up(ticket)),
        }
    }

    fn line_up(&mut self, ticket: Ticket) {
        // Counted here, where one thread does, and not where all schedulers would.
        count(&self.context.counts.calls, usize::from(ticket.hops == 0));
        if self.breaker.state() != State::Closed {
            self.board.dequeue(1);
            count(&self.context.counts.unsent, 1);
            drop(ticket);
        } else if ticket.hops > 0 {
            // It has waited elsewhere already.
            self.alarm = None;
            self.waiting.push_front(ticket);
        } else {
            self.waiting.push_back(ticket);
        }
    }

    /// Sends what waits, as much as may go together.
    fn depart(&mut self, now: Instant) {
        if self.breaker.state() != State::Closed {
            return;
        }
        self.recall(now);
        while let Some(number) = self.free_line() {
            while self.waiting.len() < CAPACITY {
                match self.queue.try_recv() {
                    Ok(parcel) => self.gather(parcel),
                    Err(_) => break,
                }
            }
            self.expire_waiting(now);
            if self.waiting.is_empty() || self.breaker.state() != State::Closed {
                return;
            }
            let most = self.waiting.len().min(CAPACITY);
            let tickets = self.waiting.drain(..most).collect();
            self.board.dequeue(most);
            let line = &mut self.lines[number];
            if let Some(connection) = line.free(DEPTH) {
                let sharded = self.role.home.is_some();
                let flight = Flight::start(tickets, connection, sharded, now);
                line.flights.push(flight);
                count(&self.context.counts.batches, 1);
            }
        }
    }

    fn on(&mut self, number: usize, event: Event) {
        match event {
            Event::Landed(flight, replies) => self.landed(number, *flight, replies),
            Event::Raised(raised) => self.raised(number, raised),
            Event::Loaded(Ok(())) => {}
            Event::Loaded(Err(trouble)) => self.ended(number, trouble.reason()),
            Event::Ended => self.ended(number, "closed by the other side"),
        }
    }
}

fn home(role: &Role) -> Option<u16> {
    let home = role.home.as_ref();
    home.map(|home| home.load(Ordering::Relaxed))
}

async fn next(lines: &mut [Line]) -> (usize, Event) {
    poll_fn(|context| {
        for (number, line) in lines.iter_mut().enumerate() {
            if let Poll::Ready(event) = line.poll(context) {
                return Poll::Ready((number, event));
            }
        }
        Poll::Pending
    })
    .await
}
