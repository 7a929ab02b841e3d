//! Governor, in each form.

use std::hash::BuildHasher;
use std::hint::black_box;
use std::num::NonZeroU32;

use governor::clock::{DefaultClock, QuantaInstant};
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::state::keyed::{DashMapStateStore, DefaultHasher};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::subject::Subject;

type Direct = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;
type Keyed<S, M> = RateLimiter<String, DashMapStateStore<String, S>, DefaultClock, M>;

/// Not keyed: one state for all ids.
pub(crate) struct GovernorDirect(Direct);

/// Keyed by `String` in a `DashMap`, hashed by `S`.
pub(crate) struct GovernorKeyed<S>(Keyed<S, NoOpMiddleware<QuantaInstant>>)
where
    S: BuildHasher + Clone;

/// As `Keyed`, with governor's own report of what is left.
pub(crate) struct GovernorTelling(Keyed<DefaultHasher, StateInformationMiddleware>);

impl GovernorDirect {
    pub(crate) fn new(quota: Quota) -> Self {
        Self(RateLimiter::direct(quota))
    }
}

impl<S: BuildHasher + Clone + Default> GovernorKeyed<S> {
    pub(crate) fn new(quota: Quota) -> Self {
        Self(RateLimiter::dashmap_with_hasher(quota, S::default()))
    }
}

impl GovernorTelling {
    pub(crate) fn new(quota: Quota) -> Self {
        Self(RateLimiter::dashmap(quota).with_middleware())
    }
}

impl Subject for GovernorDirect {
    #[inline]
    fn check(&self, _id: &String) -> bool {
        black_box(self.0.check()).is_ok()
    }
}

impl<S: BuildHasher + Clone + Send + Sync> Subject for GovernorKeyed<S> {
    #[inline]
    fn check(&self, id: &String) -> bool {
        black_box(self.0.check_key(id)).is_ok()
    }
}

impl Subject for GovernorTelling {
    #[inline]
    fn check(&self, id: &String) -> bool {
        let answer = self.0.check_key(id);
        black_box(answer.map(|state| state.remaining_burst_capacity())).is_ok()
    }
}

/// Returns a quota of so much an hour, with a burst.
pub(crate) fn quota((limit, burst): (u32, u32)) -> Quota {
    let [limit, burst] = [limit, burst].map(|n| NonZeroU32::new(n).expect("quotas are not zero"));
    Quota::per_hour(limit).allow_burst(burst)
}
