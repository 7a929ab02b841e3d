//! Decodes the reply of the general script.

use rate_limiter_core::Nanos;
use rate_limiter_distributed::meter::Query;
use rate_limiter_distributed::{Call, Failure, Op, Reply, WindowCall, WindowReply};
use redis::Value;

use super::{era_key, request_key};
use crate::name;

/// Decodes the reply to the command that [`encode`](super::encode) wrote for the same calls: one result for each call, in order. From
/// an unreadable part on, each result is [`Failure::Lost`].
#[must_use]
pub fn decode<'a>(
    calls: impl Iterator<Item = &'a Call>,
    reply: &Value,
) -> Vec<Result<Reply, Failure>> {
    let mut items = match reply {
        Value::Array(items) => items.iter(),
        _ => [].iter(),
    };
    let (now, letters) = match (items.next(), items.next()) {
        (Some(Value::Int(now)), Some(Value::BulkString(letters))) => {
            (u64::try_from(*now).unwrap_or(0), &letters[..])
        }
        _ => (0, &[][..]),
    };
    calls
        .enumerate()
        .map(|(at, call)| answer(call, letters.get(at).copied(), now, &mut items))
        .collect()
}

fn answer<'a>(
    call: &Call,
    letter: Option<u8>,
    now: u64,
    values: &mut impl Iterator<Item = &'a Value>,
) -> Result<Reply, Failure> {
    let values: Vec<&Value> = values.take(call.windows.len()).collect();
    let cost = match letter.ok_or(Failure::Lost)? {
        b'X' => return Err(Failure::Foreign(foreign(call, &values))),
        b'D' => call.cost,
        // Taken and refunded amounts are part of the state.
        b'A' if call.op == Op::Peek => call.cost,
        _ => 0,
    };
    let is_denied = letter == Some(b'D');
    let window = |(window, value): (&WindowCall, &&Value)| {
        let is_enforced = window.meter.limit().is_enforced();
        let (value, would_deny) = match *value {
            Value::Array(value) => (value.first().unwrap_or(&Value::Nil), true),
            value => (value, false),
        };
        let value = match value {
            Value::BulkString(value) => Some(&value[..]),
            Value::Nil => None,
            _ => return Err(Failure::Lost),
        };
        let query = Query {
            now,
            cost: match is_denied && !is_enforced {
                true => 0,
                false if would_deny => call.cost,
                false => cost,
            },
            scale: call.scale,
            denied: is_denied,
        };
        let WindowReply { usage, state } = read(call, window, value, &query)?;
        Ok(WindowReply {
            usage: usage.enforced(is_enforced),
            state,
        })
    };
    let windows: Result<Vec<_>, _> = call.windows.iter().zip(&values).map(window).collect();
    let windows = windows?;
    if windows.len() < call.windows.len() {
        return Err(Failure::Lost);
    }
    Ok(Reply {
        now: Nanos(now.saturating_mul(1_000)),
        repeated: letter == Some(b'R'),
        windows,
    })
}

/// Reads the state of a window.
pub(super) fn read(
    call: &Call,
    window: &WindowCall,
    value: Option<&[u8]>,
    query: &Query,
) -> Result<WindowReply, Failure> {
    let read = window.meter.read(value, query);
    // The script does not check the inside of a log. Such a value concerns this key alone.
    let (usage, state) = read.ok_or_else(|| Failure::Foreign(window_key(call, window)))?;
    Ok(WindowReply { usage, state })
}

fn window_key(call: &Call, window: &WindowCall) -> Box<str> {
    let key = [&*call.key, &*name::window(&window.meter)].concat();
    String::from_utf8_lossy(&key).into()
}

/// Returns the key that holds a value of another program: that of a window, or else that of the request id or the era.
fn foreign(call: &Call, values: &[&Value]) -> Box<str> {
    let window = values
        .iter()
        .position(|value| matches!(value, Value::Int(_)));
    let key = match (window.and_then(|at| call.windows.get(at)), &call.request_id) {
        (Some(window), _) => return window_key(call, window),
        (None, Some(request)) => request_key(call, request),
        (None, None) => era_key(call),
    };
    String::from_utf8_lossy(&key).into()
}
