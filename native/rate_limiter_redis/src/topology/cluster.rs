//! A cluster, whose primaries share the hash slots. Follows slots that move, and replicas that are promoted.

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

use super::startup_queue::StartupQueue;
use super::{Discovery, QUERY_DELAY};
use crate::config::Endpoint;
use crate::connection::Connection;
use crate::context::Context;
use crate::race::race;
use crate::routes::{Routes, NO_SERVER};
use crate::server::Server;
use crate::server_kind::{ServerKind, TopologyEvent};
use crate::slot::SLOTS;

use slots::SlotRange;

/// The time between queries while all slots have a server that is up. A slot that moves is reported by a redirection.
const INTERVAL: Duration = Duration::from_secs(15);

/// The time between queries while some have not.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// The delay of the query that follows an event.
const EVENT_DELAY: Duration = Duration::from_millis(20);

/// The time for which a server without slots is kept.
const KEEP_UNUSED: Duration = Duration::from_secs(10);

type Query = Pin<Box<dyn Future<Output = Result<Vec<SlotRange>, String>> + Send>>;

struct Cluster {
    discovery: Discovery,
    seeds: Vec<Endpoint>,
    nodes: HashMap<Endpoint, Node>,
    /// The owner of each slot.
    owners: Vec<Option<Endpoint>>,
    events: mpsc::UnboundedSender<TopologyEvent>,
}

struct Node {
    server: Arc<Server>,
    /// A slot that the node owns.
    slot: Arc<AtomicU16>,
    last_used: Instant,
}

pub(super) fn start(seeds: Vec<Endpoint>, discovery: Discovery) -> AbortHandle {
    let startup_queue = StartupQueue::open(&discovery);
    let (events, received) = mpsc::unbounded_channel();
    let cluster = Cluster {
        discovery,
        seeds,
        nodes: HashMap::new(),
        owners: vec![None; SLOTS],
        events,
    };
    tokio::spawn(cluster.run(startup_queue, received)).abort_handle()
}

impl Cluster {
    async fn run(
        mut self,
        startup_queue: StartupQueue,
        mut events: mpsc::UnboundedReceiver<TopologyEvent>,
    ) {
        let limit = self.discovery.context.timeout;
        let mut first = self.query();
        let mut query = match timeout(limit, &mut first).await {
            Ok(found) => {
                self.apply(found);
                None
            }
            Err(_) => Some(first),
        };
        startup_queue.close(!self.nodes.is_empty());
        let mut due = Instant::now() + self.interval();
        loop {
            tokio::select! {
                biased;
                // Events first: the deadlines of redirected calls are near.
                Some(event) = events.recv() => {
                    due = due.min(Instant::now() + EVENT_DELAY);
                    self.handle(event);
                }
                found = finish(&mut query) => {
                    query = None;
                    self.apply(found);
                    due = Instant::now() + self.interval();
                }
                () = sleep_until(due.into()), if query.is_none() => query = Some(self.query()),
            }
        }
    }

    fn interval(&self) -> Duration {
        let is_up = |owner: &Option<Endpoint>| {
            let node = owner.as_ref().and_then(|owner| self.nodes.get(owner));
            node.is_some_and(|node| node.server.is_up())
        };
        if self.owners.iter().all(is_up) {
            INTERVAL
        } else {
            RETRY_INTERVAL
        }
    }

    /// Queries one node after the other, until one knows the owners of the slots, and does not wait for one that hangs.
    /// Servers that are up come first.
    fn query(&self) -> Query {
        let mut known: Vec<_> = self.nodes.values().map(|node| &node.server).collect();
        known.sort_by_key(|server| !server.is_up());
        let known = known.into_iter().map(|server| server.endpoint().clone());
        let nodes: Vec<_> = known.chain(self.seeds.iter().cloned()).collect();
        let context = Arc::clone(&self.discovery.context);
        Box::pin(async move {
            let attempts = nodes.into_iter().map(|node| {
                let context = Arc::clone(&context);
                async move {
                    let found = query_slots(&context, &node).await;
                    found.map_err(|reason| format!("{node}: {reason}"))
                }
            });
            let found = race(attempts, QUERY_DELAY).await;
            found.unwrap_or_else(|| Err(String::from("no node")))
        })
    }

    fn apply(&mut self, found: Result<Vec<SlotRange>, String>) {
        let ranges = match found {
            Ok(ranges) => ranges,
            Err(problem) => {
                self.discovery.failed(&self.seeds, problem);
                return;
            }
        };
        self.name_nodes(&ranges);
        let mut owners = vec![None; SLOTS];
        for range in &ranges {
            for slot in range.slots.clone() {
                if let Some(owner) = owners.get_mut(usize::from(slot)) {
                    *owner = Some(range.primary.clone());
                }
            }
        }
        let missing = owners.iter().filter(|owner| owner.is_none()).count();
        if missing > 0 {
            let problem = format!("{missing} slots have no server");
            self.discovery.failed(&self.seeds, problem);
        } else {
            self.discovery.succeeded();
        }
        if owners != self.owners {
            self.change_owners(owners);
        }
        self.remove_unused();
    }

    /// Nodes that announce addresses may have certificates for their host names.
    fn name_nodes(&self, ranges: &[SlotRange]) {
        if let Some(encryption) = &self.discovery.context.options.encryption {
            let named = ranges.iter().filter_map(|range| {
                let name = range.host_name.clone()?;
                Some((range.primary.clone(), name))
            });
            encryption.set_names(named.collect());
        }
    }

    fn change_owners(&mut self, owners: Vec<Option<Endpoint>>) {
        let is_first = self.owners.iter().all(Option::is_none);
        self.owners = owners;
        self.publish_routes();
        if !is_first {
            // Replication is asynchronous: a new owner may lack the latest writes.
            self.discovery.context.advance_epoch();
        }
    }

    fn publish_routes(&mut self) {
        let (mut servers, mut numbers) = (Vec::new(), HashMap::new());
        let mut by_slot = Vec::with_capacity(SLOTS);
        for (slot, owner) in self.owners.clone().into_iter().enumerate() {
            by_slot.push(owner.map_or(NO_SERVER, |owner| {
                *numbers.entry(owner.clone()).or_insert_with(|| {
                    let slot = u16::try_from(slot).unwrap_or(0);
                    servers.push(self.server(owner, slot));
                    u16::try_from(servers.len() - 1).unwrap_or(NO_SERVER)
                })
            }));
        }
        let by_slot = by_slot.into();
        self.discovery
            .routes
            .set(Routes::Cluster { by_slot, servers });
    }

    /// Returns the server at an address, which owns this slot. Starts it if it is not known.
    fn server(&mut self, endpoint: Endpoint, slot: u16) -> Arc<Server> {
        let (discovery, events) = (&self.discovery, &self.events);
        let node = self.nodes.entry(endpoint).or_insert_with_key(|endpoint| {
            let slot = Arc::new(AtomicU16::new(slot));
            let kind = ServerKind::Shard {
                events: events.clone(),
                slot: Arc::clone(&slot),
            };
            Node {
                server: Server::start(&discovery.context, endpoint.clone(), kind),
                slot,
                last_used: Instant::now(),
            }
        });
        node.slot.store(slot, Ordering::Relaxed);
        node.last_used = Instant::now();
        Arc::clone(&node.server)
    }

    fn remove_unused(&mut self) {
        let owners = &self.owners;
        self.nodes.retain(|endpoint, node| {
            let owns_slots = || owners.iter().flatten().any(|owner| owner == endpoint);
            node.last_used.elapsed() < KEEP_UNUSED || owns_slots()
        });
    }

    fn handle(&mut self, event: TopologyEvent) {
        let TopologyEvent::Redirected {
            pending,
            address,
            from,
            slot,
            asking,
        } = event
        else {
            return;
        };
        // Calls with an unreadable address are dropped here, which answers them.
        let Some(endpoint) = slots::endpoint(&address, &from) else {
            return;
        };
        if !asking {
            self.slot_moved(slot, &endpoint);
        }
        let owned = match self.nodes.get(&endpoint) {
            Some(known) => known.slot.load(Ordering::Relaxed),
            None => slot,
        };
        let server = self.server(endpoint, owned);
        for pending in pending {
            server.transfer(pending);
        }
    }

    fn slot_moved(&mut self, slot: u16, to: &Endpoint) {
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            if owner.as_ref() != Some(to) {
                *owner = Some(to.clone());
                self.publish_routes();
                self.discovery.context.advance_epoch();
            }
        }
    }
}

/// Waits for the query in progress; without one, forever.
async fn finish(query: &mut Option<Query>) -> Result<Vec<SlotRange>, String> {
    match query {
        Some(query) => query.await,
        None => std::future::pending().await,
    }
}

async fn query_slots(context: &Context, node: &Endpoint) -> Result<Vec<SlotRange>, String> {
    let credentials = context.credentials.borrow().clone();
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let connected = Connection::connect(node, &context.options, &credentials, command).await;
    let (_connection, _end, reply) = connected.map_err(|error| error.reason().to_owned())?;
    slots::ranges(reply, node)
}
