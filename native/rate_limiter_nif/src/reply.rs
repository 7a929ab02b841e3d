//! Where an answer goes that is not known at once.

use rustler::env::SavedTerm;
use rustler::{Env, LocalPid, OwnedEnv, Term};

/// A process that waits, and the reference by which it knows its answer.
pub(crate) struct ReplyTo {
    env: OwnedEnv,
    reference: SavedTerm,
    pid: LocalPid,
}

impl ReplyTo {
    /// The calling process.
    pub(crate) fn new(env: Env, reference: Term) -> Self {
        let own = OwnedEnv::new();
        Self {
            reference: own.save(reference),
            env: own,
            pid: env.pid(),
        }
    }

    /// Sends `{reference, answer}`. One that has died is told nothing.
    pub(crate) fn send(self, answer: impl for<'e> FnOnce(Env<'e>) -> Term<'e>) {
        let Self {
            mut env,
            reference,
            pid,
        } = self;
        let _dead = env.send_and_clear(&pid, |env| (reference.load(env), answer(env)));
    }
}
