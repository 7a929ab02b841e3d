//! Messages to a process that waits.

use rustler::env::SavedTerm;
use rustler::{Env, LocalPid, OwnedEnv, Term};

/// A process that waits, and the reference that identifies its answer.
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

    /// Sends `{reference, answer}`. Does nothing if the process has died.
    pub(crate) fn send(self, answer: impl for<'e> FnOnce(Env<'e>) -> Term<'e>) {
        let Self {
            mut env,
            reference,
            pid,
        } = self;
        let _dead = env.send_and_clear(&pid, |env| (reference.load(env), answer(env)));
    }
}
