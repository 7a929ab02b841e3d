//! Replays of logs, many lines a call. They run on dirty schedulers, since a chunk takes longer than a scheduler may wait.

mod decode;
mod encode;

use parking_lot::Mutex;
use rate_limiter_replay::{Options, Replay, ReplayError};
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, Resource, ResourceArc, Term};

use crate::atoms;
use crate::catch_panic::catch_panic;
use crate::decode::{Arg, List};
use crate::window::Window;

use decode::SchemaTerm;
use encode::{FitTerm, InputTerm, OutcomeTerm};

/// A replay. It lives as long as a term refers to it. One process uses it; the lock guards against misuse.
struct SharedReplay(Mutex<Replay>);

#[rustler::resource_impl]
impl Resource for SharedReplay {}

#[rustler::nif(schedule = "DirtyCpu")]
fn replay_new(
    env: Env<'_>,
    windows: List<Window>,
    Arg(schema): Arg<SchemaTerm>,
    reorder_ns: u64,
    keep_requests: bool,
) -> NifResult<Term<'_>> {
    catch_panic(|| {
        let limits: Vec<_> = windows.0.into_iter().map(|window| window.limit).collect();
        let options = Options {
            reorder_ns,
            keep_requests,
        };
        Ok(match Replay::new(&limits, schema.into(), options) {
            Ok(replay) => {
                let replay = ResourceArc::new(SharedReplay(Mutex::new(replay)));
                (atoms::ok(), replay).encode(env)
            }
            Err(ReplayError::Limit { index, error }) => {
                (atoms::error(), (index, error.to_string())).encode(env)
            }
            Err(error) => (atoms::error(), (atoms::nil(), error.to_string())).encode(env),
        })
    })
}

#[rustler::nif]
fn replay_open(replay: ResourceArc<SharedReplay>) -> NifResult<usize> {
    catch_panic(|| Ok(replay.0.lock().open()))
}

/// Returns the lines of all logs, the latest time of this one, and the late requests of all:
/// `{lines, latest_ns | nil, late}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn replay_feed(
    replay: ResourceArc<SharedReplay>,
    log: usize,
    bytes: Binary,
) -> NifResult<(u64, Option<u64>, u64)> {
    catch_panic(|| {
        let mut replay = replay.0.lock();
        known(log, replay.logs())?;
        replay.feed(log, &bytes);
        let input = replay.input();
        Ok((input.lines, replay.latest(log), input.late))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn replay_close(replay: ResourceArc<SharedReplay>, log: usize) -> NifResult<Atom> {
    catch_panic(|| {
        let mut replay = replay.0.lock();
        known(log, replay.logs())?;
        replay.close(log);
        Ok(atoms::ok())
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn replay_input(env: Env<'_>, replay: ResourceArc<SharedReplay>) -> NifResult<Term<'_>> {
    catch_panic(|| {
        let replay = replay.0.lock();
        Ok(InputTerm::new(env, &replay).encode(env))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn replay_outcome(
    env: Env<'_>,
    replay: ResourceArc<SharedReplay>,
    limit: usize,
    top: usize,
) -> NifResult<Term<'_>> {
    catch_panic(|| {
        let mut replay = replay.0.lock();
        known(limit, replay.limits())?;
        let report = replay.report(limit, top);
        Ok(OutcomeTerm::new(env, &report).encode(env))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn replay_fit(
    env: Env<'_>,
    replay: ResourceArc<SharedReplay>,
    limit: usize,
    shares_ppm: Vec<u32>,
) -> NifResult<Term<'_>> {
    catch_panic(|| {
        let mut replay = replay.0.lock();
        known(limit, replay.limits())?;
        let fit = replay.fit(limit, &shares_ppm);
        Ok(FitTerm::new(replay.limit(limit), &fit).encode(env))
    })
}

/// Fails for a number of a log or limit that does not exist.
fn known(number: usize, count: usize) -> NifResult<()> {
    if number < count {
        Ok(())
    } else {
        Err(Error::BadArg)
    }
}
