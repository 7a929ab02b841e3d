//! Encodes calls as one command, and decodes its reply. `lua/head.lua` describes the format.

use std::collections::{HashMap, HashSet};
use std::iter;
use std::sync::Arc;

use rate_limiter_core::{Nanos, Scale, Snapshot};
use rate_limiter_distributed::meter::{put, Meter, Query, MAX_COST};
use rate_limiter_distributed::{
    Call, Charge, Failure, NamedCharge, Op, Receipt, Reply, RequestId, WindowCall, WindowReply,
};
use redis::{Cmd, RedisWrite, Value};

use crate::{name, script};

/// The time for which a key outlives its state, since the server counts lifetimes in milliseconds.
const SLACK_MS: u64 = 100;

/// The same with a test's clock, by which states expire independently of the server's clock: longer than any test.
const TEST_SLACK_MS: u64 = 3_600_000;

/// The operation of a refund with a receipt.
const GIVE_BACK: u8 = 4;

/// The flags of a run.
const REQUEST: u8 = 1;
const CHARGES: u8 = 2;
const NAMED: u8 = 4;
const SHADOW: u8 = 8;

/// Consecutive calls that differ only in their id.
struct Run<'a> {
    call: &'a Call,
    count: u16,
    meters: Vec<u16>,
}

/// Encodes calls, at least one, as one `EVALSHA`, which decides them in this order. In a cluster, the keys of all calls
/// must lie in one slot.
///
/// `now` is a test's time since 1970. Without it, the server's clock counts.
pub fn encode<'a>(calls: impl Iterator<Item = &'a Call> + Clone, now: Option<Nanos>) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script::hash());
    complete(command, calls, now)
}

/// Encodes calls as one `EVAL`, by which the server learns the script.
pub(crate) fn encode_with_source<'a>(calls: impl Iterator<Item = &'a Call> + Clone) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script::source());
    complete(command, calls, None)
}

fn complete<'a>(
    mut command: Cmd,
    calls: impl Iterator<Item = &'a Call> + Clone,
    now: Option<Nanos>,
) -> Cmd {
    let keys = |call: &Call| {
        let notes = [
            has_era(call),
            call.request_id.is_some(),
            call.receipt.is_some(),
        ];
        call.windows.len() + notes.iter().filter(|has| **has).count() + call.named.len()
    };
    command.arg(calls.clone().map(keys).sum::<usize>());
    let (runs, meters) = runs(calls.clone());
    let repeats = write_keys(calls, &runs, &meters, &mut command);

    let slack = if now.is_some() {
        TEST_SLACK_MS
    } else {
        SLACK_MS
    };
    let now = now.map_or(0, |now| (now.0 / 1_000).max(1));
    let mut head = Vec::with_capacity(14);
    put(&mut head, slack, 4);
    put(&mut head, now, 7);
    put(&mut head, meters.len() as u64, 2);
    head.push(repeats.into());
    command.write_arg(&head);
    for (meter, scale) in meters {
        command.write_arg(&meter.encode(scale));
    }
    for run in runs {
        run.write(&mut command);
    }
    command
}

/// Writes `KEYS`. Returns whether a key repeats.
fn write_keys<'a>(
    calls: impl Iterator<Item = &'a Call>,
    runs: &[Run],
    meters: &[(&Meter, Scale)],
    command: &mut Cmd,
) -> bool {
    let suffixes: Vec<_> = meters
        .iter()
        .map(|(meter, _)| name::window(meter))
        .collect();
    let run_of_each = runs
        .iter()
        .flat_map(|run| iter::repeat_n(run, run.count.into()));
    let (mut key, mut repeats) = (Vec::new(), false);
    let mut seen = HashSet::new();
    for (call, run) in calls.zip(run_of_each) {
        repeats |= !seen.insert(&*call.key);
        for number in &run.meters {
            key.clear();
            key.extend(&*call.key);
            key.extend(&*suffixes[usize::from(*number) - 1]);
            command.write_arg(&key);
        }
        if has_era(call) {
            command.write_arg(&era_key(call));
        }
        if let Some(request) = &call.request_id {
            command.write_arg(&request_key(call, request));
        }
        if let Some(receipt) = &call.receipt {
            command.write_arg(&given_key(call, receipt));
        }
        for named in &call.named {
            command.write_arg(&named_key(call, named));
        }
    }
    repeats
}

/// Returns whether the call reads or ends the era of its id.
fn has_era(call: &Call) -> bool {
    call.request_id.is_some() || !call.named.is_empty() || matches!(call.op, Op::Refund | Op::Reset)
}

fn era_key(call: &Call) -> Vec<u8> {
    let mut key = call.key.to_vec();
    name::era(&mut key);
    key
}

/// The key of the request id of the call, or of the call that is given back.
fn request_key(call: &Call, request: &RequestId) -> Vec<u8> {
    let mut key = call.key.to_vec();
    let cost = call.receipt.map_or(call.cost, |receipt| receipt.charged);
    let windows = call.windows.iter().map(|window| window.meter.name());
    name::request(&mut key, &request.id, cost.min(MAX_COST), windows);
    key
}

/// The key of the request id of a call that a node admitted during an outage.
fn named_key(call: &Call, named: &NamedCharge) -> Vec<u8> {
    let mut key = call.key.to_vec();
    let windows = call.windows.iter().zip(&named.is_own);
    let own = windows
        .filter(|(_, is_own)| **is_own)
        .map(|(window, _)| window.meter.name());
    let cost = named.cost.min(MAX_COST);
    name::request(&mut key, &named.request_id.id, cost, own);
    key
}

fn given_key(call: &Call, receipt: &Receipt) -> Vec<u8> {
    let mut key = call.key.to_vec();
    name::given(&mut key, receipt.serial);
    key
}

/// Returns for how long a call can count in its windows, in milliseconds.
fn longest_use(call: &Call) -> u64 {
    let windows = call.windows.iter();
    let longest = windows.map(|window| window.meter.limit().longest_use());
    longest
        .max()
        .unwrap_or_default()
        .as_millis_ceil()
        .min(MAX_COST / 2_000)
}

/// Returns the calls as runs, and their meters, each at its scale.
fn runs<'a>(calls: impl Iterator<Item = &'a Call>) -> (Vec<Run<'a>>, Vec<(&'a Meter, Scale)>) {
    let mut runs: Vec<Run> = Vec::new();
    let (mut meters, mut numbers) = (Vec::new(), HashMap::new());
    for call in calls {
        if let Some(run) = runs.last_mut().filter(|run| run.continues_with(call)) {
            run.count += 1;
            continue;
        }
        let number = |window: &'a WindowCall| {
            let meter: &Meter = &window.meter;
            *numbers
                .entry((std::ptr::from_ref(meter), call.scale.ppm()))
                .or_insert_with(|| {
                    meters.push((meter, call.scale));
                    // Never saturates: a batch has far fewer windows.
                    u16::try_from(meters.len()).unwrap_or(u16::MAX)
                })
        };
        runs.push(Run {
            call,
            count: 1,
            meters: call.windows.iter().map(number).collect(),
        });
    }
    (runs, meters)
}

impl Run<'_> {
    fn continues_with(&self, next: &Call) -> bool {
        let call = self.call;
        let plain = |call: &Call| {
            call.request_id.is_none()
                && call.receipt.is_none()
                && call.named.is_empty()
                && call.windows.iter().all(|window| window.charge.is_none())
        };
        let same = |(one, other): (&WindowCall, &WindowCall)| Arc::ptr_eq(&one.meter, &other.meter);
        self.count < u16::MAX
            && (call.op, call.cost, call.scale) == (next.op, next.cost, next.scale)
            && call.windows.len() == next.windows.len()
            && call.windows.iter().zip(&next.windows).all(same)
            && plain(call)
            && plain(next)
    }

    fn write(&self, command: &mut Cmd) {
        let Call {
            op,
            cost,
            windows,
            request_id,
            receipt,
            named,
            ..
        } = self.call;
        let charged = windows.iter().any(|window| window.charge.is_some());
        let shadow = shadow(windows);
        let mut argument = Vec::with_capacity(32);
        argument.push(receipt.map_or(code(*op), |_| GIVE_BACK));
        put(&mut argument, self.count.into(), 2);
        put(&mut argument, (*cost).min(MAX_COST), 7);
        argument.push(
            if request_id.is_some() { REQUEST } else { 0 }
                | if charged { CHARGES } else { 0 }
                | if named.is_empty() { 0 } else { NAMED }
                | if shadow > 0 { SHADOW } else { 0 },
        );
        // Never saturates: `MAX_WINDOWS` is less.
        argument.push(u8::try_from(windows.len()).unwrap_or(u8::MAX));
        for meter in &self.meters {
            put(&mut argument, u64::from(*meter), 2);
        }
        if shadow > 0 {
            put(&mut argument, shadow, 4);
        }
        if let Some(request) = request_id {
            put(&mut argument, request.keep.as_millis_ceil(), 7);
        }
        if has_era(self.call) {
            put(&mut argument, longest_use(self.call), 7);
        }
        if let Some(receipt) = receipt {
            put(&mut argument, receipt.at.0 / 1_000, 7);
            put(&mut argument, receipt.charged.min(MAX_COST), 7);
        }
        command.write_arg(&argument);
        for window in windows.iter().filter(|_| charged) {
            let charge = window.charge.as_ref();
            command.write_arg(
                &charge
                    .map(|charge| portions(&window.meter, charge))
                    .unwrap_or_default(),
            );
        }
        if !named.is_empty() {
            command.write_arg(&names(named, windows));
        }
    }
}

/// Returns the windows in shadow mode as bits, the first one the lowest.
fn shadow(windows: &[WindowCall]) -> u64 {
    let bits = windows.iter().enumerate();
    let bits = bits.map(|(at, window)| u64::from(!window.meter.limit().is_enforced()) << at);
    bits.sum()
}

const fn code(op: Op) -> u8 {
    match op {
        Op::Take => 0,
        Op::Peek => 1,
        Op::Refund => 2,
        Op::Reset => 3,
    }
}

fn portions(meter: &Meter, charge: &Charge) -> Vec<u8> {
    let mut argument = Vec::new();
    for snapshot in [&charge.at_least, &charge.taken] {
        put_portions(&mut argument, meter, snapshot.as_ref());
    }
    argument
}

fn put_portions(argument: &mut Vec<u8>, meter: &Meter, snapshot: Option<&Snapshot>) {
    let portions = snapshot.map(|snapshot| meter.portions(snapshot));
    let portions = portions.unwrap_or_default();
    // The newest ones. No log reaches this limit: it has at most 10,000 units.
    let portions = &portions[portions.len().saturating_sub(u16::MAX.into())..];
    put(argument, portions.len() as u64, 2);
    for (moment, amount) in portions {
        put(argument, *moment, 7);
        put(argument, *amount, 7);
    }
}

/// Encodes calls that a node admitted during an outage, for the same windows.
fn names(named: &[NamedCharge], windows: &[WindowCall]) -> Vec<u8> {
    let mut argument = Vec::new();
    put(&mut argument, named.len() as u64, 2);
    for named in named {
        put(&mut argument, named.request_id.keep.as_millis_ceil(), 7);
        for (window, taken) in windows.iter().zip(&named.taken) {
            put_portions(&mut argument, &window.meter, taken.as_ref());
        }
    }
    argument
}

/// Decodes the reply to the command that [`encode`] wrote for the same calls: one result for each call, in order. From
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
        let read = window.meter.read(value, &query);
        // The script does not check the inside of a log. Such a value concerns this key alone.
        let (usage, state) = read.ok_or_else(|| Failure::Foreign(window_key(call, window)))?;
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
