//! One server, at an address that does not change.

use super::Ground;
use crate::config::Endpoint;
use crate::lane::{Lane, Role};
use crate::routes::Routes;

pub(super) fn explore(endpoint: Endpoint, ground: &Ground) {
    let role = Role {
        notes: None,
        home: None,
        is_named: false,
    };
    let lane = Lane::open(&ground.context, endpoint, role);
    ground.map.set(Routes::One(lane));
}
