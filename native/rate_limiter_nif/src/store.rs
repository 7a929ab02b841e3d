//! What a shared limiter needs of its store: an authority, and how ids and answers are named.

use std::sync::Arc;
use std::time::Duration;

use rate_limiter_distributed::{Authority, Members};
use rate_limiter_redis::Namespace;
use rustler::{Atom, Env, Term};

use crate::binary::binary;
use crate::refusal::Refusal;
use crate::{atoms, custom, redis};

/// How much longer than its deadline a caller waits for the thread that answers it.
const GRACE: Duration = Duration::from_millis(50);

/// The store of an instance.
pub(crate) struct Store {
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) members: Arc<Members>,
    /// The source of its answers.
    pub(crate) source: Atom,
    pub(crate) prefix: Box<str>,
    pub(crate) id_key: Option<Box<[u8]>>,
    /// The instance's name in Erlang's external term format.
    pub(crate) instance: Box<[u8]>,
    pub(crate) caches_denials: bool,
    /// How long it has for an answer.
    pub(crate) timeout: Duration,
}

impl Store {
    /// The instance's name, for `:erlang.binary_to_term/1`.
    pub(crate) fn instance<'a>(&self, env: Env<'a>) -> Term<'a> {
        binary(env, &self.instance)
    }

    /// The keys of a limiter.
    pub(crate) fn namespace(&self, limiter: &str) -> Namespace {
        let namespace = Namespace::new(&self.prefix, limiter);
        match &self.id_key {
            Some(key) => namespace.hashing_ids(key),
            None => namespace,
        }
    }

    /// How long a caller waits, in milliseconds.
    #[allow(clippy::cast_possible_truncation)] // some minutes at most
    pub(crate) fn wait_ms(&self) -> u64 {
        (self.timeout + GRACE).as_millis() as u64
    }
}

/// Finds a store of either kind.
pub(crate) fn find(store: u64) -> Result<Arc<Store>, Refusal> {
    let redis = redis::find(store).map(|redis| Arc::clone(&redis.store));
    redis
        .or_else(|_unknown| custom::find(store).map(|custom| Arc::clone(&custom.store)))
        .map_err(|_unknown| atoms::unknown_store().into())
}
