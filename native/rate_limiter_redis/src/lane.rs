//! The way to one server: a queue that any thread may push to, and a task that carries what is in it.
//!
//! Calls that wait at the same time travel together: while a flight is in the air, the next one gathers, and nobody
//! waits for a timer. Only the task touches connections and the breaker, so nothing of that needs a lock.

mod driver;
mod flight;
mod line;
mod probe;

use std::sync::atomic::{AtomicU16, AtomicU8, AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::config::Endpoint;
use crate::connection::Station;
use crate::context::Context;
use crate::eviction::Eviction;
use crate::status::ServerStatus;
use crate::ticket::Ticket;
use rate_limiter_distributed::breaker::State;
use rate_limiter_distributed::Failure;

use driver::Driver;

/// Where calls for one server are left. When the last one is dropped, its connections are closed.
pub(crate) struct Lane {
    queue: mpsc::UnboundedSender<Parcel>,
    board: Arc<Board>,
}

/// What is left at once, and so goes together as far as it can.
pub(crate) enum Parcel {
    One(Ticket),
    Many(Vec<Ticket>),
}

/// What a lane's task shows to the outside.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) endpoint: Endpoint,
    /// The endpoint, in words.
    pub(crate) server: Box<str>,
    max_queue: usize,
    /// Calls left and not yet sent or answered.
    queued: AtomicUsize,
    flying: AtomicUsize,
    connections: AtomicUsize,
    state: AtomicU8,
    problem: Mutex<Option<String>>,
    eviction: Mutex<Option<Eviction>>,
}

/// What a lane tells whoever knows the topology.
pub(crate) enum Note {
    /// These belong elsewhere.
    Elsewhere {
        tickets: Vec<Ticket>,
        /// `host:port` as the server said; without a host it means its own.
        address: String,
        from: Endpoint,
        slot: u16,
        asking: bool,
    },
    /// The server is gone, or not what it was: look again who is there.
    Trouble,
}

/// What tells lanes of one topology from those of another.
#[derive(Clone)]
pub(crate) struct Role {
    /// Takes notes, where that can help.
    pub(crate) notes: Option<mpsc::UnboundedSender<Note>>,
    /// A slot that the server has, if it is one of a cluster: all keys of a command must lie in the same.
    pub(crate) home: Option<Arc<AtomicU16>>,
    /// Whether it is a Sentinel that says it is primary: it may not know yet that another is.
    pub(crate) is_named: bool,
}

impl Role {
    fn station(&self) -> Station {
        match &self.home {
            Some(_) => Station::Sharded,
            None if self.is_named => Station::Named,
            None => Station::Alone,
        }
    }
}

impl Lane {
    /// Starts to carry. Must be called on the runtime.
    pub(crate) fn open(context: &Arc<Context>, endpoint: Endpoint, role: Role) -> Arc<Self> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let board = Arc::new(Board::new(endpoint, context.max_queue));
        let driver = Driver::new(Arc::clone(context), Arc::clone(&board), role, waiting);
        tokio::spawn(driver.run());
        Arc::new(Self { queue, board })
    }

    /// One that nobody carries from: whoever has the other end does what is to be done.
    pub(crate) fn to_nowhere(context: &Context) -> (Arc<Self>, mpsc::UnboundedReceiver<Parcel>) {
        let (queue, waiting) = mpsc::unbounded_channel();
        let board = Board::new(Endpoint::tcp("", 0), context.max_queue);
        let lane = Self {
            queue,
            board: Arc::new(board),
        };
        (Arc::new(lane), waiting)
    }

    /// Leaves a call, from any thread. Never blocks. Hands it back where it would not be sent.
    pub(crate) fn offer(&self, ticket: Ticket) -> Result<(), (Ticket, Failure)> {
        match self.admit() {
            Ok(()) => self.push(ticket),
            Err(failure) => Err((ticket, failure)),
        }
    }

    /// Leaves calls that travel together. Hands back those that would not be sent.
    pub(crate) fn offer_all(&self, tickets: Vec<Ticket>) -> Vec<(Ticket, Failure)> {
        let (mut parcel, mut unsent) = (Vec::with_capacity(tickets.len()), Vec::new());
        for ticket in tickets {
            match self.admit() {
                Ok(()) => parcel.push(ticket),
                Err(failure) => unsent.push((ticket, failure)),
            }
        }
        if let Err(refused) = self.queue.send(Parcel::Many(parcel)) {
            let Parcel::Many(parcel) = refused.0 else {
                return unsent;
            };
            self.board.dequeue(parcel.len());
            unsent.extend(parcel.into_iter().map(|ticket| (ticket, Failure::Away)));
        }
        unsent
    }

    /// Leaves a call that was accepted already, however many wait.
    pub(crate) fn transfer(&self, ticket: Ticket) {
        self.board.enqueue(1);
        drop(self.push(ticket));
    }

    fn admit(&self) -> Result<(), Failure> {
        if self.board.state() != State::Closed {
            return Err(Failure::Away);
        }
        if !self.board.try_enqueue() {
            return Err(Failure::Full);
        }
        Ok(())
    }

    fn push(&self, ticket: Ticket) -> Result<(), (Ticket, Failure)> {
        let sent = self.queue.send(Parcel::One(ticket));
        sent.map_err(|refused| {
            self.board.dequeue(1);
            match refused.0 {
                Parcel::One(ticket) => (ticket, Failure::Away),
                Parcel::Many(_) => unreachable!("it was one"),
            }
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.board.endpoint
    }

    pub(crate) fn state(&self) -> State {
        self.board.state()
    }

    pub(crate) fn status(&self) -> ServerStatus {
        self.board.status()
    }
}

impl Board {
    fn new(endpoint: Endpoint, max_queue: usize) -> Self {
        Self {
            server: endpoint.to_string().into(),
            endpoint,
            max_queue,
            queued: AtomicUsize::new(0),
            flying: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            state: AtomicU8::new(number(State::Closed)),
            problem: Mutex::default(),
            eviction: Mutex::default(),
        }
    }

    /// Takes a place in the queue, if there is one.
    fn try_enqueue(&self) -> bool {
        // Added first and taken back, so that two cannot both see the last place free.
        let placed = self.queued.fetch_add(1, Ordering::Relaxed) < self.max_queue;
        if !placed {
            self.dequeue(1);
        }
        placed
    }

    fn enqueue(&self, places: usize) {
        self.queued.fetch_add(places, Ordering::Relaxed);
    }

    fn dequeue(&self, places: usize) {
        self.queued.fetch_sub(places, Ordering::Relaxed);
    }

    fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(number(state), Ordering::Relaxed);
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }

    /// Whether the server was not known to do so.
    pub(crate) fn set_eviction(&self, eviction: Option<Eviction>) -> bool {
        let mut known = self.eviction.lock();
        let policy = |eviction: &Option<Eviction>| Some(eviction.as_ref()?.policy.clone());
        let is_new = policy(&known) != policy(&eviction);
        *known = eviction;
        is_new
    }

    fn status(&self) -> ServerStatus {
        let evicts = self.eviction.lock().clone();
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        ServerStatus {
            server: self.server.to_string(),
            breaker: self.state(),
            connections: read(&self.connections),
            pending: read(&self.queued) + read(&self.flying),
            problem: self.problem.lock().clone(),
            evicts: evicts.map(|eviction| eviction.policy.into()),
        }
    }
}

fn number(state: State) -> u8 {
    match state {
        State::Closed => 0,
        State::Open => 1,
        State::HalfOpen => 2,
    }
}
