//! Which servers of the authority are away, as the calls of this limiter show.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use rate_limiter_core::Nanos;

/// How long a server that failed again soon after it was back must not fail until it counts as back.
const CALM_NANOS: u64 = 1_000_000_000;

/// The servers that are away. The limiter as a whole is in an outage while at least one is.
#[derive(Default)]
pub(super) struct Outages {
    /// Whether there is one. Read without the lock by each call, since most find none.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    away: Vec<Outage>,
    /// When the last one ended.
    ended: Option<Nanos>,
}

/// A server that is away.
struct Outage {
    /// A key that the server decides. It stands for the server: another one may take its place.
    key: Arc<[u8]>,
    failed_at: Nanos,
    /// Whether it began soon after another one, so that it ends only after a calm.
    repeated: bool,
}

impl Outages {
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Reports that a key's server is away. `same` tells whether a key has the same server. Returns whether it is the first
    /// one.
    pub(super) fn failed(&self, key: &Arc<[u8]>, now: Nanos, same: impl Fn(&[u8]) -> bool) -> bool {
        let State { away, ended } = &mut *self.state.lock();
        if let Some(outage) = away.iter_mut().find(|outage| same(&outage.key)) {
            outage.failed_at = now;
            return false;
        }
        away.push(Outage {
            key: Arc::clone(key),
            failed_at: now,
            repeated: ended.is_some_and(|ended| !is_calm(ended, now)),
        });
        self.any.store(true, Ordering::Relaxed);
        away.len() == 1
    }

    /// Reports that a server answered. `same` tells whether it decides a key. Returns whether it was the last one away.
    pub(super) fn answered(&self, now: Nanos, same: impl Fn(&[u8]) -> bool) -> bool {
        let State { away, ended } = &mut *self.state.lock();
        let before = away.len();
        let ends = |outage: &Outage| !outage.repeated || is_calm(outage.failed_at, now);
        away.retain(|outage| !(ends(outage) && same(&outage.key)));
        if away.len() < before {
            *ended = Some(now);
        }
        self.any.store(!away.is_empty(), Ordering::Relaxed);
        away.is_empty() && before > 0
    }
}

fn is_calm(since: Nanos, now: Nanos) -> bool {
    now.0.saturating_sub(since.0) >= CALM_NANOS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: u64 = 1_000_000;

    /// The first byte of a key names its server.
    fn key(server: u8) -> Arc<[u8]> {
        Arc::from([server, 7])
    }

    fn failed(outages: &Outages, server: u8, ms: u64) -> bool {
        outages.failed(&key(server), Nanos(ms * MILLI), |other| other[0] == server)
    }

    fn answered(outages: &Outages, server: u8, ms: u64) -> bool {
        outages.answered(Nanos(ms * MILLI), |other| other[0] == server)
    }

    #[test]
    fn an_outage_lasts_from_the_first_server_away_to_the_return_of_the_last() {
        let outages = Outages::default();
        assert!(failed(&outages, 1, 0));
        for ms in 0..1_000 {
            assert!(!answered(&outages, 0, ms) && !failed(&outages, 1, ms));
        }
        assert!(!failed(&outages, 2, 1_000));
        assert!(!answered(&outages, 1, 1_000) && outages.any());
        assert!(answered(&outages, 2, 1_001) && !outages.any());
    }

    #[test]
    fn a_server_in_the_place_of_one_that_is_away_ends_its_outage() {
        let outages = Outages::default();
        assert!(failed(&outages, 1, 0));
        assert!(outages.answered(Nanos(MILLI), |other| [1, 2].contains(&other[0])));
    }

    proptest! {
        #[test]
        fn events_alternate_and_are_calm_whatever_the_servers_do(
            steps in prop::collection::vec((0_u8..3, any::<bool>(), 0_u64..300), 1..2_000),
        ) {
            let (outages, mut now, mut is_away, mut events) = (Outages::default(), 0, false, 0);
            for (server, fails, ms) in steps {
                now += ms;
                let changed = if fails {
                    failed(&outages, server, now)
                } else {
                    answered(&outages, server, now)
                };
                if changed {
                    prop_assert_eq!(is_away, !fails);
                    is_away = fails;
                    events += 1;
                }
                prop_assert_eq!(outages.any(), is_away);
            }
            // After the first two, both of an outage take a calm.
            prop_assert!(events <= 4 + 2 * (now / 1_000), "{events} events in {now} ms");
        }
    }
}
