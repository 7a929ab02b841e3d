//! Primaries that share the slots: knows which has which, and learns it again when slots move or a primary is lost.

mod slots;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout};

use super::lobby::Lobby;
use super::slot::SLOTS;
use super::Ground;
use crate::config::Endpoint;
use crate::connection::Connection;
use crate::context::Context;
use crate::lane::{Lane, Note, Role};
use crate::routes::{Routes, NOWHERE};
use crate::ticket::Ticket;
use rate_limiter_distributed::breaker::State;

use slots::{ranges, Range};

/// How often the nodes are asked while all is well. A slot that moves says so itself.
const CALM: Duration = Duration::from_secs(15);

/// How often while it is not.
const ALARMED: Duration = Duration::from_millis(200);

/// How soon after somebody said that something changed.
const SOON: Duration = Duration::from_millis(20);

/// How long a node may take to answer.
const ANSWER: Duration = Duration::from_millis(500);

/// How long a server is kept in mind that has no slots.
const UNUSED: Duration = Duration::from_secs(10);

type Asking = Pin<Box<dyn Future<Output = Result<Vec<Range>, String>> + Send>>;

struct Atlas {
    ground: Ground,
    seeds: Vec<Endpoint>,
    lanes: HashMap<Endpoint, Node>,
    /// Which server has each slot.
    owners: Vec<Option<Endpoint>>,
    notes: mpsc::UnboundedSender<Note>,
}

struct Node {
    lane: Arc<Lane>,
    /// A slot that it has: where its own key is kept.
    home: Arc<AtomicU16>,
    used: Instant,
}

pub(super) fn explore(seeds: Vec<Endpoint>, ground: Ground) -> AbortHandle {
    let lobby = Lobby::open(&ground);
    let (notes, heard) = mpsc::unbounded_channel();
    let atlas = Atlas {
        ground,
        seeds,
        lanes: HashMap::new(),
        owners: vec![None; SLOTS],
        notes,
    };
    tokio::spawn(atlas.run(lobby, heard)).abort_handle()
}

impl Atlas {
    async fn run(mut self, lobby: Lobby, mut heard: mpsc::UnboundedReceiver<Note>) {
        let mut asking = Some(self.ask());
        let patience = self.ground.context.timeout;
        let first = asking.as_mut().expect("it was just begun");
        if let Ok(found) = timeout(patience, first).await {
            asking = None;
            self.learn(found);
        }
        lobby.leave(!self.lanes.is_empty());
        let mut due = Instant::now() + self.pause();
        loop {
            tokio::select! {
                biased;
                // Calls come first: their time is short.
                Some(note) = heard.recv() => {
                    due = due.min(Instant::now() + SOON);
                    self.on(note);
                }
                found = answered(&mut asking) => {
                    asking = None;
                    self.learn(found);
                    due = Instant::now() + self.pause();
                }
                () = sleep_until(due.into()), if asking.is_none() => asking = Some(self.ask()),
            }
        }
    }

    fn pause(&self) -> Duration {
        let is_well = |node: &Node| node.lane.state() == State::Closed;
        let owner = |owner: &Option<Endpoint>| {
            let node = owner.as_ref().and_then(|owner| self.lanes.get(owner));
            node.is_some_and(is_well)
        };
        if self.owners.iter().all(owner) {
            CALM
        } else {
            ALARMED
        }
    }

    /// Asks one node after the other, until one knows who has which slots. Those that work come first.
    fn ask(&self) -> Asking {
        let mut known: Vec<_> = self.lanes.values().map(|node| &node.lane).collect();
        known.sort_by_key(|lane| lane.state() != State::Closed);
        let known = known.into_iter().map(|lane| lane.endpoint().clone());
        let nodes: Vec<_> = known.chain(self.seeds.iter().cloned()).collect();
        let context = Arc::clone(&self.ground.context);
        Box::pin(async move {
            let mut problem = String::from("no node");
            for node in nodes {
                match timeout(ANSWER, ask(&context, &node)).await {
                    Ok(Ok(found)) => return Ok(found),
                    Ok(Err(reason)) => problem = format!("{node}: {reason}"),
                    Err(_) => problem = format!("{node}: no answer within {ANSWER:?}"),
                }
            }
            Err(problem)
        })
    }

    fn learn(&mut self, found: Result<Vec<Range>, String>) {
        let ranges = match found {
            Ok(ranges) => ranges,
            Err(problem) => {
                self.ground.problem.send_replace(Some(problem));
                return;
            }
        };
        let mut owners = vec![None; SLOTS];
        for range in &ranges {
            for slot in range.slots.clone() {
                if let Some(owner) = owners.get_mut(usize::from(slot)) {
                    *owner = Some(range.primary.clone());
                }
            }
        }
        let missing = owners.iter().filter(|owner| owner.is_none()).count();
        let problem = (missing > 0).then(|| format!("{missing} slots have no server"));
        self.ground.problem.send_replace(problem);
        if owners != self.owners {
            self.redraw(owners);
        }
        self.forget_unused();
    }

    fn redraw(&mut self, owners: Vec<Option<Endpoint>>) {
        let had_some = self.owners.iter().any(Option::is_some);
        self.owners = owners;
        self.publish();
        if had_some {
            // Another server may not have heard all that the last one did.
            self.ground.context.new_epoch();
        }
    }

    /// Has calls go where they belong.
    fn publish(&mut self) {
        let (mut lanes, mut numbers) = (Vec::new(), HashMap::new());
        let mut of = Vec::with_capacity(SLOTS);
        for (slot, owner) in self.owners.clone().into_iter().enumerate() {
            of.push(owner.map_or(NOWHERE, |owner| {
                *numbers.entry(owner.clone()).or_insert_with(|| {
                    let home = u16::try_from(slot).unwrap_or(0);
                    lanes.push(self.lane(owner, home));
                    u16::try_from(lanes.len() - 1).unwrap_or(NOWHERE)
                })
            }));
        }
        let of = of.into();
        self.ground.map.set(Routes::Slots { of, lanes });
    }

    /// The lane to a server, which has this slot.
    fn lane(&mut self, server: Endpoint, home: u16) -> Arc<Lane> {
        let (ground, notes) = (&self.ground, &self.notes);
        let node = self.lanes.entry(server).or_insert_with_key(|server| {
            let home = Arc::new(AtomicU16::new(home));
            let role = Role {
                notes: Some(notes.clone()),
                home: Some(Arc::clone(&home)),
                is_named: false,
            };
            let lane = Lane::open(&ground.context, server.clone(), role);
            let used = Instant::now();
            Node { lane, home, used }
        });
        node.home.store(home, Ordering::Relaxed);
        node.used = Instant::now();
        Arc::clone(&node.lane)
    }

    fn forget_unused(&mut self) {
        let owners = &self.owners;
        self.lanes.retain(|server, node| {
            let owns = || owners.iter().flatten().any(|owner| owner == server);
            node.used.elapsed() < UNUSED || owns()
        });
    }

    fn on(&mut self, note: Note) {
        let Note::Elsewhere {
            tickets,
            address,
            from,
            slot,
            asking,
        } = note
        else {
            return;
        };
        // What has no way to go is answered when it is dropped here.
        let Some(server) = slots::server(&address, &from) else {
            return;
        };
        if !asking {
            self.moved(slot, &server);
        }
        let home = match self.lanes.get(&server) {
            Some(known) => known.home.load(Ordering::Relaxed),
            None => slot,
        };
        let lane = self.lane(server, home);
        let leave = |ticket: Ticket| lane.transfer(ticket);
        tickets.into_iter().for_each(leave);
    }

    /// A server said who has a slot now.
    fn moved(&mut self, slot: u16, server: &Endpoint) {
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            if owner.as_ref() != Some(server) {
                *owner = Some(server.clone());
                self.publish();
                self.ground.context.new_epoch();
            }
        }
    }
}

async fn answered(question: &mut Option<Asking>) -> Result<Vec<Range>, String> {
    match question {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

async fn ask(context: &Context, node: &Endpoint) -> Result<Vec<Range>, String> {
    let credentials = context.credentials.borrow().clone();
    let opened = Connection::open(node, &context.manner, &credentials).await;
    let (connection, _) = opened.map_err(|trouble| trouble.reason().to_owned())?;
    let mut question = redis::cmd("CLUSTER");
    let answer = connection.ask(question.arg("SLOTS")).await;
    ranges(answer.map_err(|error| error.to_string())?, node)
}
