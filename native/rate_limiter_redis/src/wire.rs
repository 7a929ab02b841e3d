//! Encodes calls as one command, and decodes its reply. `lua/head.lua` describes the format; [`lean`] is that of calls as
//! nearly all are.

pub mod lean;
mod reply;

use std::collections::{HashMap, HashSet};
use std::iter;
use std::sync::Arc;

use rate_limiter_core::{Nanos, Scale, Snapshot};
use rate_limiter_distributed::meter::{put, Meter, MAX_COST};
use rate_limiter_distributed::{Call, Charge, NamedCharge, Op, Receipt, RequestId, WindowCall};
use redis::{Cmd, RedisWrite};

use crate::{name, script};

pub use reply::decode;

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
    command.arg(script::GENERAL.hash());
    complete(command, calls, now)
}

/// Encodes calls as one `EVAL`, by which the server learns the script.
pub(crate) fn encode_with_source<'a>(calls: impl Iterator<Item = &'a Call> + Clone) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script::GENERAL.source());
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

    let (slack, now) = clock(now);
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

/// Returns the slack, and the time in microseconds, 0 for the server's clock.
fn clock(now: Option<Nanos>) -> (u64, u64) {
    match now {
        Some(now) => (TEST_SLACK_MS, (now.0 / 1_000).max(1)),
        None => (SLACK_MS, 0),
    }
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
    call.request_id.is_some()
        || !call.named.is_empty()
        || matches!(call.op, Op::Refund | Op::Reset)
        || has_charges(call)
}

fn has_charges(call: &Call) -> bool {
    call.windows.iter().any(|window| window.charge.is_some())
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
                && !has_charges(call)
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
        let charged = has_charges(self.call);
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
    for (moment, snapshot) in [
        (charge.since, &charge.at_least),
        (charge.until, &charge.taken),
    ] {
        put(&mut argument, moment.0 / 1_000, 7);
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
        put(&mut argument, named.at.0 / 1_000, 7);
        for (window, taken) in windows.iter().zip(&named.taken) {
            put_portions(&mut argument, &window.meter, taken.as_ref());
        }
    }
    argument
}
