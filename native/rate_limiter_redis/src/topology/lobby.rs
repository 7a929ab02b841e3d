//! Where calls wait that come before it is known where the servers are.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Ground;
use crate::lane::{Lane, Parcel};
use crate::routes::{Map, Routes};

/// Open from the start of a client until its servers are found, at most for as long as a call may take: so none waits
/// here longer than that.
pub(super) struct Lobby {
    waiting: mpsc::UnboundedReceiver<Parcel>,
    map: Arc<Map>,
}

impl Lobby {
    pub(super) fn open(ground: &Ground) -> Self {
        let (lane, waiting) = Lane::to_nowhere(&ground.context);
        ground.map.set(Routes::One(lane));
        let map = Arc::clone(&ground.map);
        Self { waiting, map }
    }

    /// It was looked for: who waits goes the way that was found, or is told that there is none.
    pub(super) fn leave(mut self, found: bool) {
        if !found {
            self.map.set(Routes::None);
            return;
        }
        while let Ok(parcel) = self.waiting.try_recv() {
            let tickets = match parcel {
                Parcel::One(ticket) => vec![ticket],
                Parcel::Many(tickets) => tickets,
            };
            drop(self.map.with(|routes| routes.offer_all(tickets)));
        }
    }
}
