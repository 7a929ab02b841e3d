//! The authority as one node reaches it, over a network that the test controls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::authority::{Authority, Done, Failure, Unsent};
use crate::call::Call;

use super::server::Server;

/// What the network does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Up,
    /// The call is not sent.
    Down,
    /// The call is lost before it runs.
    RequestLost,
    /// The call runs, and its reply is lost.
    ReplyLost,
    /// The call is in flight until it is delivered.
    Delayed,
}

/// The authority as one node reaches it.
pub(super) struct Uplink {
    server: Arc<Server>,
    network: Mutex<Network>,
    delayed: Mutex<VecDeque<(Call, Done)>>,
    /// Calls that run once their sender has returned.
    ready: Mutex<VecDeque<(Call, Done, Network)>>,
    /// Held while they run, so that they run one after the other.
    running: Mutex<()>,
    sent: AtomicUsize,
}

impl Uplink {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            network: Mutex::new(Network::Up),
            delayed: Mutex::default(),
            ready: Mutex::default(),
            running: Mutex::default(),
            sent: AtomicUsize::new(0),
        }
    }

    pub(super) fn set_network(&self, network: Network) {
        *self.network.lock() = network;
    }

    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the number of delayed calls.
    pub(super) fn in_flight(&self) -> usize {
        self.delayed.lock().len()
    }

    /// Ends the first delayed call as the network would.
    pub(super) fn deliver(&self, network: Network) {
        let first = self.delayed.lock().pop_front();
        if let Some((call, done)) = first {
            self.end(&call, done, network);
        }
        self.run();
    }

    /// Makes the last delayed call the first.
    pub(super) fn reorder(&self) {
        self.delayed.lock().rotate_right(1);
    }

    /// Runs all calls that were sent, and those that are sent meanwhile.
    pub(super) fn run(&self) {
        let _running = self.running.lock();
        loop {
            let first = self.ready.lock().pop_front();
            let Some((call, done, network)) = first else {
                return;
            };
            self.end(&call, done, network);
        }
    }

    fn end(&self, call: &Call, done: Done, network: Network) {
        let result = match network {
            Network::Up => Ok(self.server.run(call)),
            Network::ReplyLost => {
                self.server.run(call);
                Err(Failure::Lost)
            }
            Network::RequestLost => Err(Failure::Lost),
            Network::Down | Network::Delayed => Err(Failure::Away),
        };
        done(result);
    }
}

impl Authority for Uplink {
    fn send(&self, call: Call, done: Done) -> Result<(), Unsent> {
        let network = match *self.network.lock() {
            // Calls stay in order.
            Network::Up if self.in_flight() > 0 => Network::Delayed,
            network => network,
        };
        if network == Network::Down {
            let failure = Failure::Away;
            return Err(Unsent {
                call,
                done,
                failure,
            });
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        if network == Network::Delayed {
            self.delayed.lock().push_back((call, done));
        } else {
            self.ready.lock().push_back((call, done, network));
        }
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.server.epoch()
    }

    fn knows_resets(&self) -> bool {
        true
    }
}
