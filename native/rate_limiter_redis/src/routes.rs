//! Which lane a call takes. Read by every call, from any thread; written when the topology changes.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::lane::Lane;
use crate::ticket::Ticket;
use crate::topology::slot;
use rate_limiter_distributed::Failure;

/// The present way of each key.
pub(crate) enum Routes {
    /// All the same.
    One(Arc<Lane>),
    /// By slot: the number of the lane, or [`NOWHERE`].
    Slots {
        of: Box<[u16]>,
        lanes: Vec<Arc<Lane>>,
    },
    /// Nowhere: it is not known where the servers are.
    None,
    /// Nowhere, for good.
    Stopped,
}

/// Stands for the lane of slots that no server has.
pub(crate) const NOWHERE: u16 = u16::MAX;

/// Holds the routes.
pub(crate) struct Map(RwLock<Arc<Routes>>);

impl Routes {
    pub(crate) fn lane(&self, key: &[u8]) -> Option<&Arc<Lane>> {
        match self {
            Self::One(lane) => Some(lane),
            Self::Slots { of, lanes } => {
                let number = of.get(usize::from(slot::of(key)))?;
                lanes.get(usize::from(*number))
            }
            Self::None | Self::Stopped => None,
        }
    }

    /// Leaves calls that travel together, as far as they have the same way. Hands back those that were not accepted.
    pub(crate) fn offer_all(&self, tickets: Vec<Ticket>) -> Vec<(Ticket, Failure)> {
        if let Self::One(lane) = self {
            return lane.offer_all(tickets);
        }
        let mut parcels: Vec<(&Arc<Lane>, Vec<Ticket>)> = Vec::new();
        let mut unsent = Vec::new();
        for ticket in tickets {
            let Some(lane) = self.lane(ticket.key()) else {
                unsent.push((ticket, Failure::Away));
                continue;
            };
            match parcels
                .iter_mut()
                .find(|(other, _)| Arc::ptr_eq(other, lane))
            {
                Some((_, parcel)) => parcel.push(ticket),
                None => parcels.push((lane, vec![ticket])),
            }
        }
        for (lane, parcel) in parcels {
            unsent.extend(lane.offer_all(parcel));
        }
        unsent
    }

    /// Each lane once, in the order of the servers' names.
    pub(crate) fn lanes(&self) -> Vec<&Arc<Lane>> {
        let mut lanes: Vec<_> = match self {
            Self::One(lane) => vec![lane],
            Self::Slots { lanes, .. } => lanes.iter().collect(),
            Self::None | Self::Stopped => Vec::new(),
        };
        lanes.sort_by_cached_key(|lane| lane.endpoint().to_string());
        lanes
    }
}

impl Map {
    pub(crate) fn new(routes: Routes) -> Self {
        Self(RwLock::new(Arc::new(routes)))
    }

    /// Looks one up. Never parks: a writer is in for as long as it takes to change one pointer.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Routes) -> R) -> R {
        loop {
            if let Some(routes) = self.0.try_read() {
                return look(&routes);
            }
            std::thread::yield_now();
        }
    }

    /// Has calls go another way from now on, unless they go nowhere for good.
    pub(crate) fn set(&self, routes: Routes) {
        let mut routes = Arc::new(routes);
        let mut present = self.0.write();
        if !matches!(**present, Routes::Stopped) {
            std::mem::swap(&mut *present, &mut routes);
        }
        // Lanes that nobody uses any more end with what is dropped: outside of the lock.
        drop(present);
        drop(routes);
    }
}
