//! The call by which a server is tried.

use std::sync::Arc;
use std::time::Duration;

use rate_limiter_core::{Limit, Scale};

use crate::topology::slot;
use rate_limiter_distributed::Meter;
use rate_limiter_distributed::{Call, Op, WindowCall};

/// A call like any other, which writes as they do: a server that is full or read-only does not pass for well. Where
/// `home` is a slot, its key lies there.
pub(super) fn probe(prefix: &str, home: Option<u16>) -> Call {
    let limit = Limit::token_bucket(1_000, Duration::from_secs(1));
    let meter = Meter::new("probe", &limit).expect("a thousand a second fits");
    Call {
        key: key(prefix, home),
        op: Op::Take,
        cost: 1,
        scale: Scale::ONE,
        windows: Box::new([WindowCall {
            meter: Arc::new(meter),
            charge: None,
        }]),
        request_id: None,
    }
}

/// A limiter's key has a colon within the braces, so this is none's.
fn key(prefix: &str, home: Option<u16>) -> Arc<[u8]> {
    let Some(home) = home else {
        return format!("{prefix}:{{!probe}}").into_bytes().into();
    };
    let keys = (0_u64..).map(|number| format!("{prefix}:{{!probe-{number}}}").into_bytes());
    let mut at_home = keys.filter(|key| slot::of(key) == home);
    at_home.next().expect("some number has every slot").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_key_lies_in_the_slot_that_is_meant() {
        for home in [0, 1, 8191, 16383] {
            assert_eq!(slot::of(&probe("p", Some(home)).key), home);
        }
    }
}
