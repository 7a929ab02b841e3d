//! The commands of the lean script: each call takes its cost from one token bucket or fixed window of an id of its own.
//! `lua/lean.lua` describes the format.
//!
//! The script leaves a call to the general one if the key holds anything else than a state of the call's own limit.

use std::sync::Arc;

use rate_limiter_core::{Algorithm, Nanos};
use rate_limiter_distributed::meter::{put, Query, MAX_COST};
use rate_limiter_distributed::{Call, Failure, Op, Reply, WindowCall};
use redis::{Cmd, RedisWrite, Value};

use super::{clock, reply};
use crate::{name, script};

/// The size of the time in a reply.
const NOW: usize = 7;

/// The byte of a call that is left to the general script.
const LEFT: u8 = 255;

/// Added to the size of a state whose call was denied.
const DENIED: u8 = 128;

/// Returns the window of a call that this script decides. It decides calls together only if their ids differ.
#[must_use]
pub fn window(call: &Call) -> Option<&WindowCall> {
    let Call {
        key: _,
        op: Op::Take,
        cost: 1..,
        scale: _,
        windows,
        request_id: None,
        receipt: None,
        named,
    } = call
    else {
        return None;
    };
    let [window @ WindowCall {
        meter,
        charge: None,
    }] = &**windows
    else {
        return None;
    };
    let limit = meter.limit();
    let is_known = matches!(
        limit.algorithm(),
        Algorithm::TokenBucket { .. } | Algorithm::FixedWindow { .. }
    );
    (is_known && limit.is_enforced() && named.is_empty()).then_some(window)
}

/// Encodes calls that this script decides, at least one, as one `EVALSHA`. See [`encode`](super::encode).
pub fn encode<'a>(calls: impl Iterator<Item = &'a Call> + Clone, now: Option<Nanos>) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script::LEAN.hash());
    complete(command, calls, now)
}

/// Encodes calls as one `EVAL`, by which the server learns the script.
pub(crate) fn encode_with_source<'a>(calls: impl Iterator<Item = &'a Call> + Clone) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script::LEAN.source());
    complete(command, calls, None)
}

fn complete<'a>(
    mut command: Cmd,
    calls: impl Iterator<Item = &'a Call> + Clone,
    now: Option<Nanos>,
) -> Cmd {
    let calls = calls.filter_map(|call| window(call).map(|window| (call, window)));
    command.arg(calls.clone().count());
    let (mut key, mut end) = (Vec::new(), Vec::new());
    let mut runs: Vec<(&Call, &WindowCall, u16)> = Vec::new();
    for (call, window) in calls {
        let run = runs.last_mut();
        if let Some((.., count)) = run.filter(|run| is_alike(run, call, window)) {
            *count += 1;
        } else {
            end = name::window(&window.meter);
            runs.push((call, window, 1));
        }
        key.clear();
        key.extend(&*call.key);
        key.extend(&*end);
        command.write_arg(&key);
    }
    let (slack, now) = clock(now);
    let mut run = Vec::with_capacity(47);
    for (call, window, count) in runs {
        run.clear();
        put(&mut run, slack, 4);
        put(&mut run, count.into(), 2);
        put(&mut run, now, 7);
        put(&mut run, call.cost.min(MAX_COST), 7);
        run.extend(&window.meter.encode(call.scale));
        command.write_arg(&run);
    }
    command
}

/// Returns whether a call continues a run of calls of the same limit and cost.
fn is_alike(run: &(&Call, &WindowCall, u16), call: &Call, window: &WindowCall) -> bool {
    let (first, first_window, count) = run;
    *count < u16::MAX
        && Arc::ptr_eq(&first_window.meter, &window.meter)
        && (first.cost, first.scale) == (call.cost, call.scale)
}

/// Returns for each call whether it is left to the general script. It has changed nothing then.
pub fn left(reply: &Value) -> impl Iterator<Item = bool> + '_ {
    Decided::all(reply).map(|decided| decided.is_none())
}

/// Decodes the reply to the command that [`encode`] wrote for these calls and those that are left to the general script:
/// one result for each call, in order. From an unreadable part on, each result is [`Failure::Lost`].
#[must_use]
pub fn decode<'a>(
    calls: impl Iterator<Item = &'a Call>,
    reply: &Value,
) -> Vec<Result<Reply, Failure>> {
    let mut decided = Decided::all(reply).flatten();
    calls
        .map(|call| {
            let decided = decided.next().ok_or(Failure::Lost)?;
            decided.reply(call)
        })
        .collect()
}

/// The part of a reply about a call that was decided.
struct Decided<'a> {
    now: u64,
    is_denied: bool,
    state: &'a [u8],
}

impl<'a> Decided<'a> {
    /// Returns the parts of a reply; `None` for a call that is left to the general script.
    fn all(reply: &'a Value) -> impl Iterator<Item = Option<Self>> + 'a {
        let bytes = match reply {
            Value::BulkString(bytes) => &bytes[..],
            _ => &[],
        };
        let (now, mut rest) = bytes.split_at_checked(NOW).unwrap_or_default();
        let now = now.iter().fold(0, |now, byte| now << 8 | u64::from(*byte));
        std::iter::from_fn(move || {
            let (&byte, after) = rest.split_first()?;
            if byte == LEFT {
                rest = after;
                return Some(None);
            }
            let (state, after) = after.split_at_checked((byte & !DENIED).into())?;
            rest = after;
            Some(Some(Self {
                now,
                is_denied: byte >= DENIED,
                state,
            }))
        })
    }

    fn reply(&self, call: &Call) -> Result<Reply, Failure> {
        let query = Query {
            now: self.now,
            // What was taken is part of the state.
            cost: if self.is_denied { call.cost } else { 0 },
            scale: call.scale,
            denied: self.is_denied,
        };
        let state = (!self.state.is_empty()).then_some(self.state);
        let window = window(call).ok_or(Failure::Lost)?;
        Ok(Reply {
            now: Nanos(self.now.saturating_mul(1_000)),
            repeated: false,
            windows: vec![reply::read(call, window, state, &query)?],
        })
    }
}
