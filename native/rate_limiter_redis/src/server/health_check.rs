//! The call that checks whether a server works.

use std::sync::Arc;
use std::time::Duration;

use rate_limiter_core::{Limit, Scale};
use rate_limiter_distributed::{Call, Meter, Op, WindowCall};

use crate::slot;

/// Returns a call that writes as all calls do, so that a server that is full or read-only fails the check. Its key lies
/// in `slot`, if one is given.
pub(super) fn health_check(prefix: &str, slot: Option<u16>) -> Call {
    let limit = Limit::token_bucket(1_000, Duration::from_secs(1));
    let meter = Meter::new("probe", &limit).expect("a thousand per second is in range");
    Call {
        key: key(prefix, slot),
        op: Op::Take,
        cost: 1,
        scale: Scale::ONE,
        windows: Box::new([WindowCall {
            meter: Arc::new(meter),
            charge: None,
        }]),
        request_id: None,
        receipt: None,
        named: Vec::new(),
    }
}

/// A limiter's key has a colon in its braces, so this one belongs to no limiter.
fn key(prefix: &str, slot: Option<u16>) -> Arc<[u8]> {
    let Some(slot) = slot else {
        return format!("{prefix}:{{!probe}}").into_bytes().into();
    };
    let keys = (0_u64..).map(|number| format!("{prefix}:{{!probe-{number}}}").into_bytes());
    let mut keys = keys.filter(|key| slot::of(key) == slot);
    keys.next().expect("each slot has such a key").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_lies_in_the_given_slot() {
        for slot in [0, 1, 8191, 16383] {
            assert_eq!(slot::of(&health_check("p", Some(slot)).key), slot);
        }
    }
}
