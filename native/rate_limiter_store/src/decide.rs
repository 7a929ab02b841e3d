//! Decides calls about one key: a pure function from the state before to the state after, with the arithmetic of a local
//! limiter. A store may run it again, when another node has changed the key meanwhile.

use rate_limiter_core::{Nanos, Retry, Usage};
use rate_limiter_distributed::{Call, Charge, Failure, NamedCharge, Op, Reply, WindowReply};
use sha1_smol::Sha1;

use crate::state::{Name, Refund, State};
use crate::window::Judged;

/// How much longer a store keeps a state than it counts, for nodes whose clocks are behind.
const SLACK_MS: u64 = 1_000;

/// Usage that a clock wrote which was ahead by less than this is not moved: the clocks of two nodes, or of a server and
/// its successor, are never the same.
const SKEW: Nanos = Nanos(1_000_000_000);

/// What a store has to do with the state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing: it stays as it is.
    Keep,
    /// Store this value for so many milliseconds.
    Put(Vec<u8>, u64),
    /// Remove it.
    Delete,
}

/// The decision about calls, and the state that the store has to keep for it to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the store has to do.
    pub write: Write,
    /// The reply to each call, in order.
    pub replies: Vec<Result<Reply, Failure>>,
}

/// Decides calls about one key, in order. `value` is the state that the store has now.
///
/// A value that is not a state stays as it is, and each call is answered with [`Failure::Foreign`].
#[must_use]
pub fn decide(calls: &[Call], value: Option<&[u8]>, now: Nanos) -> Decision {
    let mut state = match value.map(State::decode) {
        None => State::default(),
        Some(Some(state)) => state,
        Some(None) => {
            let foreign = |call: &Call| {
                let key = String::from_utf8_lossy(&call.key);
                Err(Failure::Foreign(key.into()))
            };
            return Decision {
                write: Write::Keep,
                replies: calls.iter().map(foreign).collect(),
            };
        }
    };
    let now = state.present(now);
    state.forget(now);
    let mut changed = false;
    let decided = calls.iter().map(|call| {
        let mut run = Run {
            call,
            state: &mut state,
            now,
            changed: false,
        };
        let reply = run.reply();
        changed |= run.changed;
        Ok(reply)
    });
    let replies = decided.collect();
    let write = match (changed, value) {
        (true, _) if !state.is_blank() => state.write(now),
        (true, Some(_)) => Write::Delete,
        (false, _) | (true, None) => Write::Keep,
    };
    Decision { write, replies }
}

impl State {
    /// Returns the present: the store's clock, but never before the state was written.
    fn present(&mut self, now: Nanos) -> Nanos {
        if self.at <= now {
            return now;
        }
        if self.at.saturating_sub(now) < SKEW {
            return self.at;
        }
        self.move_to(now);
        now
    }

    fn write(&mut self, now: Nanos) -> Write {
        self.at = now;
        let lasts = self.until().saturating_sub(now);
        Write::Put(self.encode(), lasts.as_millis_ceil() + SLACK_MS)
    }
}

/// One call while it is decided.
struct Run<'a> {
    call: &'a Call,
    state: &'a mut State,
    now: Nanos,
    changed: bool,
}

impl Run<'_> {
    fn reply(&mut self) -> Reply {
        let call = self.call;
        self.end_calls();
        if call.op == Op::Reset {
            self.reset();
        }
        let mut windows = Vec::with_capacity(call.windows.len());
        for window in &call.windows {
            let (name, limit) = (window.meter.name(), window.meter.limit());
            let window = Judged::take_out(self.state, name, limit, self.now);
            self.changed |= window.is_changed;
            windows.push(window);
        }
        let (repeated, usages) = self.decide(&mut windows);
        let reply = |(window, usage): (&mut Judged, _)| WindowReply {
            usage,
            state: window.snapshot(),
        };
        let replies = windows.iter_mut().zip(usages).map(reply).collect();
        for window in windows {
            window.put_back(self.state);
        }
        self.state.forget(self.now);
        Reply {
            now: self.now,
            repeated,
            windows: replies,
        }
    }

    /// A refund or a reset ends the names and the receipts of the calls before it.
    fn end_calls(&mut self) {
        let call = self.call;
        let gives_back = call.op == Op::Refund && call.receipt.is_none() && call.cost > 0;
        if (call.op == Op::Reset || gives_back) && !self.state.is_blank() {
            let longest = self.longest();
            self.state.end_calls(self.now, longest);
            self.changed = true;
        }
    }

    fn reset(&mut self) {
        let windows = &self.call.windows;
        self.state.windows.retain(|known| {
            let is_of = |name, limit| known.is_of(name, limit);
            !windows
                .iter()
                .any(|window| is_of(window.meter.name(), window.meter.limit()))
        });
    }

    fn decide(&mut self, windows: &mut [Judged]) -> (bool, Vec<Usage>) {
        let call = self.call;
        for (window, asked) in windows.iter_mut().zip(&call.windows) {
            if let Some(charge) = asked.charge.as_ref().filter(|_| call.op != Op::Reset) {
                // A state from before a refund or reset is in this one already, or was lowered by it.
                let is_known = self.state.ended > charge.since;
                let at_least = charge.at_least.clone().filter(|_| !is_known);
                window.charge(&Charge {
                    at_least,
                    ..charge.clone()
                });
                self.changed = true;
            }
        }
        for named in &call.named {
            self.charge_named(named, windows);
        }
        match (call.op, &call.receipt) {
            (Op::Refund, Some(_)) => self.give_back(windows),
            (Op::Refund, None) if call.cost > 0 => {
                for window in windows.iter_mut() {
                    window.refund(call.cost);
                }
                self.changed = true;
            }
            (Op::Take | Op::Peek, _) => return self.judge(windows),
            _ => {}
        }
        (false, usages(windows, 0, call))
    }

    fn judge(&mut self, windows: &mut [Judged]) -> (bool, Vec<Usage>) {
        let call = self.call;
        let judged = usages(windows, call.cost, call);
        let name = self.name(call.cost);
        if let Some(hash) = name {
            let is_known = self.state.names.iter().any(|known| known.hash == hash);
            if is_known && judged.iter().all(|usage| usage.retry != Retry::Never) {
                return (true, usages(windows, 0, call));
            }
        }
        if !judged.iter().all(Usage::allowed) {
            // A window that had room reports its usage without the cost.
            let without = usages(windows, 0, call);
            let usage = |(judged, without): (Usage, _)| {
                if judged.allowed() {
                    without
                } else {
                    judged
                }
            };
            return (false, judged.into_iter().zip(without).map(usage).collect());
        }
        if call.op == Op::Take && call.cost > 0 {
            // A window in shadow mode that would deny the call takes nothing of it.
            let fitting = windows.iter_mut().zip(&judged);
            for (window, _) in fitting.filter(|(_, usage)| usage.fits()) {
                window.take(call.cost, call.scale);
            }
            if let (Some(hash), Some(request)) = (name, &call.request_id) {
                self.remember(hash, request.keep);
            }
            self.changed = true;
        }
        (false, judged)
    }

    /// Charges a call with a name that a node admitted during an outage, unless it was charged before.
    fn charge_named(&mut self, named: &NamedCharge, windows: &mut [Judged]) {
        let own = self.call.windows.iter().zip(&named.is_own);
        let own = own
            .filter(|(_, is_own)| **is_own)
            .map(|(window, _)| window.meter.name());
        let hash = hash(&named.request_id.id, named.cost, own);
        if self.state.names.iter().any(|known| known.hash == hash) {
            return;
        }
        for (window, taken) in windows.iter_mut().zip(&named.taken) {
            if taken.is_some() {
                window.charge(&Charge {
                    taken: taken.clone(),
                    ..Charge::default()
                });
            }
        }
        self.remember(hash, named.request_id.keep);
        self.changed = true;
    }

    /// Gives back what still counts of one call, and in all at most what it was charged.
    fn give_back(&mut self, windows: &mut [Judged]) {
        let (call, now) = (self.call, self.now);
        let Some(receipt) = call.receipt else { return };
        let known = self.state.refunds.iter();
        let given = known.filter(|known| known.serial == receipt.serial);
        let before = given.map(|known| known.amount).next().unwrap_or(0);
        let left = receipt.charged.saturating_sub(before);
        let back = call.cost.min(left);
        if back == 0 || receipt.at <= self.state.ended || receipt.serial == 0 {
            return;
        }
        for window in windows {
            window.give_back(receipt.at, left, back);
        }
        let until = now.saturating_add(self.longest());
        self.state.put_refund(Refund {
            serial: receipt.serial,
            until,
            amount: before + back,
        });
        if let Some(hash) = self.name(receipt.charged) {
            let is_its = |name: &Name| name.hash == hash && name.at == receipt.at;
            self.state.names.retain(|name| !is_its(name));
        }
        self.changed = true;
    }

    fn remember(&mut self, hash: [u8; 16], keep: Nanos) {
        let (at, until) = (self.now, self.now.saturating_add(keep));
        self.state.put_name(Name { hash, until, at });
    }

    /// Returns the hash of the call's name, if it has one.
    fn name(&self, cost: u64) -> Option<[u8; 16]> {
        let request = self.call.request_id.as_ref()?;
        let windows = self.call.windows.iter().map(|window| window.meter.name());
        Some(hash(&request.id, cost, windows))
    }

    /// Returns the longest time for which a use counts in the windows of the call.
    fn longest(&self) -> Nanos {
        let windows = self.call.windows.iter();
        let longest = windows.map(|window| window.meter.limit().longest_use());
        longest.max().unwrap_or_default()
    }
}

/// Returns the usage of each window if `cost` is taken.
fn usages(windows: &mut [Judged], cost: u64, call: &Call) -> Vec<Usage> {
    let usage = |window: &mut Judged| window.peek(cost, call.scale);
    windows.iter_mut().map(usage).collect()
}

/// A name is for one cost and one choice of windows.
fn hash<'a>(id: &[u8], cost: u64, windows: impl Iterator<Item = &'a str>) -> [u8; 16] {
    let mut hash = Sha1::new();
    hash.update(&(id.len() as u64).to_be_bytes());
    hash.update(id);
    hash.update(&cost.to_be_bytes());
    for window in windows {
        hash.update(&(window.len() as u64).to_be_bytes());
        hash.update(window.as_bytes());
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.digest().bytes()[..16]);
    short
}

#[cfg(test)]
mod tests;
