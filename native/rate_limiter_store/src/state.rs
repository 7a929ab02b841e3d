//! The state of a key: one value, whose layout only this file knows.
//!
//! A value begins with its version and a checksum, so that a value of another program, or one that was cut off, is not
//! taken for a state. All numbers are big-endian, times are nanoseconds since 1970.
//!
//! value    version (1 byte), checksum (4), written at (8), ended (8), how long that is remembered (8), windows, names,
//!          refunds; each of the three with its number of entries (2)
//! window   length of its name (2), name, limit, last until (8), last asked about (8), usage
//! limit    algorithm (1), amount (8), period (8), burst, number of sub-windows or alignment (8)
//! usage    of a bucket: two numbers (16); of other algorithms: their numbers, after how many there are (4)
//! name     hash (16), last until (8), admitted at (8)
//! refund   number of the call (8), last until (8), given back (8)

use std::time::Duration;

use rate_limiter_core::{Algorithm, Limit, Nanos, Scale, SingleLimiter, Snapshot};
use sha1_smol::Sha1;

use crate::reader::Reader;

const VERSION: u8 = 1;
const HEAD: usize = 5;

/// The most names of calls, and the most refunds, that a key remembers: the latest.
const MAX_NOTES: usize = 1_000;

/// The state of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// When it was written.
    pub(crate) at: Nanos,
    /// When a refund or a reset last ended all names and receipts of the key.
    pub(crate) ended: Nanos,
    /// Until when that matters.
    pub(crate) ended_until: Nanos,
    pub(crate) windows: Vec<Window>,
    pub(crate) names: Vec<Name>,
    pub(crate) refunds: Vec<Refund>,
}

/// What was used of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) name: Box<str>,
    /// The limit under which it was written, as if it was enforced.
    pub(crate) limit: Limit,
    /// When nothing counts any more.
    pub(crate) until: Nanos,
    /// When a call was last judged by this limit.
    pub(crate) asked: Nanos,
    pub(crate) usage: Usage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Bucket(Nanos, u64),
    Other(Snapshot),
}

/// A call that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) hash: [u8; 16],
    pub(crate) until: Nanos,
    pub(crate) at: Nanos,
}

/// What was given back of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) serial: u64,
    pub(crate) until: Nanos,
    pub(crate) amount: u64,
}

impl State {
    /// Reads a value; `None` if it is not one of [`encode`](Self::encode).
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (head, body) = value.split_at_checked(HEAD)?;
        if head[0] != VERSION || head[1..] != checksum(body) {
            return None;
        }
        let mut reader = Reader::new(body);
        let (at, ended, ended_until) = (reader.nanos()?, reader.nanos()?, reader.nanos()?);
        let windows = reader.list(Window::decode)?;
        let names = reader.list(Name::decode)?;
        let refunds = reader.list(Refund::decode)?;
        let state = Self {
            at,
            ended,
            ended_until,
            windows,
            names,
            refunds,
        };
        reader.is_at_end().then_some(state)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(128);
        put(&mut body, self.at.0);
        put(&mut body, self.ended.0);
        put(&mut body, self.ended_until.0);
        put_count(&mut body, self.windows.len());
        for window in &self.windows {
            window.encode(&mut body);
        }
        put_count(&mut body, self.names.len());
        for name in &self.names {
            body.extend(name.hash);
            put(&mut body, name.until.0);
            put(&mut body, name.at.0);
        }
        put_count(&mut body, self.refunds.len());
        for refund in &self.refunds {
            for number in [refund.serial, refund.until.0, refund.amount] {
                put(&mut body, number);
            }
        }
        let mut value = vec![VERSION];
        value.extend(checksum(&body));
        value.append(&mut body);
        value
    }

    /// Removes what no longer counts.
    pub(crate) fn forget(&mut self, now: Nanos) {
        self.windows.retain(|window| window.until > now);
        self.names.retain(|name| name.until > now);
        self.refunds.retain(|refund| refund.until > now);
        if self.ended_until <= now {
            (self.ended, self.ended_until) = (Nanos(0), Nanos(0));
        }
    }

    /// Ends all names and receipts of calls so far, of which the last one would have counted for `longest`.
    pub(crate) fn end_calls(&mut self, now: Nanos, longest: Nanos) {
        self.ended = now;
        self.ended_until = self.until().max(now.saturating_add(longest));
        self.names.clear();
        self.refunds.clear();
    }

    /// Returns whether nothing counts.
    pub(crate) fn is_blank(&self) -> bool {
        let nothing = self.windows.is_empty() && self.names.is_empty() && self.refunds.is_empty();
        nothing && self.ended == Nanos(0)
    }

    /// Returns when nothing counts any more, if nothing is added.
    pub(crate) fn until(&self) -> Nanos {
        let windows = self.windows.iter().map(|window| window.until);
        let names = self.names.iter().map(|name| name.until);
        let refunds = self.refunds.iter().map(|refund| refund.until);
        let notes = names.chain(refunds).chain([self.ended_until]);
        windows.chain(notes).max().unwrap_or_default()
    }

    /// Lets usage that was written by a clock ahead of `now` count as of now.
    pub(crate) fn move_to(&mut self, now: Nanos) {
        let ahead = self.at.saturating_sub(now);
        let back = |time: &mut Nanos| *time = time.saturating_sub(ahead);
        for window in &mut self.windows {
            back(&mut window.until);
            back(&mut window.asked);
            window.usage.move_back(ahead);
        }
        for name in &mut self.names {
            back(&mut name.until);
            back(&mut name.at);
        }
        for refund in &mut self.refunds {
            back(&mut refund.until);
        }
        back(&mut self.ended);
        back(&mut self.ended_until);
        self.at = now;
    }

    /// Notes the name of a call that was admitted now.
    pub(crate) fn put_name(&mut self, name: Name) {
        self.names.retain(|known| known.hash != name.hash);
        self.names.push(name);
        let over = self.names.len().saturating_sub(MAX_NOTES);
        self.names.drain(..over);
    }

    /// Notes what was given back of a call.
    pub(crate) fn put_refund(&mut self, refund: Refund) {
        self.refunds.retain(|known| known.serial != refund.serial);
        self.refunds.push(refund);
        let over = self.refunds.len().saturating_sub(MAX_NOTES);
        self.refunds.drain(..over);
    }
}

impl Window {
    fn decode(reader: &mut Reader) -> Option<Self> {
        let length = reader.short()?;
        let name = std::str::from_utf8(reader.bytes(length.into())?)
            .ok()?
            .into();
        let (algorithm, amount, per, extra) = (
            reader.byte()?,
            reader.number()?,
            reader.nanos()?,
            reader.number()?,
        );
        let algorithm = match algorithm {
            0 => Algorithm::TokenBucket { burst: Some(extra) },
            1 => Algorithm::SlidingWindow {
                sub_windows: u32::try_from(extra).ok()?,
            },
            2 => Algorithm::SlidingLog,
            3 => Algorithm::FixedWindow {
                aligned: extra == 1,
            },
            _ => return None,
        };
        let limit = Limit::new(amount, Duration::from_nanos(per.0), algorithm);
        let (until, asked) = (reader.nanos()?, reader.nanos()?);
        let usage = match algorithm {
            Algorithm::TokenBucket { .. } => Usage::Bucket(reader.nanos()?, reader.number()?),
            Algorithm::SlidingWindow { .. } => {
                let counts = reader.numbers()?;
                let [width, newest, counts @ ..] = &counts[..] else {
                    return None;
                };
                Usage::Other(Snapshot::Window {
                    width: Nanos(*width),
                    newest: *newest,
                    counts: counts.to_vec(),
                })
            }
            Algorithm::SlidingLog => {
                let numbers = reader.numbers()?;
                let uses = numbers.chunks_exact(2);
                Usage::Other(Snapshot::Log {
                    uses: uses.map(|use_| (Nanos(use_[0]), use_[1])).collect(),
                })
            }
            Algorithm::FixedWindow { .. } => {
                let [start, per, used] = reader.numbers()?[..] else {
                    return None;
                };
                Usage::Other(Snapshot::Fixed {
                    start: Nanos(start),
                    per: Nanos(per),
                    used,
                })
            }
        };
        Some(Self {
            name,
            limit,
            until,
            asked,
            usage,
        })
    }

    fn encode(&self, into: &mut Vec<u8>) {
        put_count(into, self.name.len());
        into.extend(self.name.as_bytes());
        let (algorithm, extra) = match self.limit.algorithm() {
            Algorithm::TokenBucket { .. } => (0, self.limit.capacity()),
            Algorithm::SlidingWindow { sub_windows } => (1, sub_windows.into()),
            Algorithm::SlidingLog => (2, 0),
            Algorithm::FixedWindow { aligned } => (3, aligned.into()),
        };
        into.push(algorithm);
        put(into, self.limit.limit());
        put(into, Nanos::from(self.limit.per()).0);
        put(into, extra);
        put(into, self.until.0);
        put(into, self.asked.0);
        match &self.usage {
            Usage::Bucket(full_at, interval) => {
                put(into, full_at.0);
                put(into, *interval);
            }
            Usage::Other(snapshot) => put_numbers(into, &numbers(snapshot)),
        }
    }

    /// Reads what was used from a limiter.
    pub(crate) fn of(
        name: &str,
        limit: &Limit,
        limiter: &mut SingleLimiter,
        (now, asked): (Nanos, Nanos),
    ) -> Self {
        let snapshot = limiter.snapshot(now).unwrap_or_else(|| unused(limit));
        let reset_after = limiter.peek(now, 0, Scale::ONE).reset_after;
        let usage = match limiter.bucket() {
            Some((full_at, interval)) => Usage::Bucket(full_at, interval),
            None => Usage::Other(snapshot),
        };
        Self {
            name: name.into(),
            limit: limit.clone().enforced(true),
            until: now.saturating_add(reset_after),
            asked,
            usage,
        }
    }

    /// Returns a limiter of `limit` that continues from here.
    pub(crate) fn limiter(&self, limit: &Limit, now: Nanos) -> Option<SingleLimiter> {
        let mut limiter = SingleLimiter::new(limit).ok()?;
        match &self.usage {
            Usage::Bucket(full_at, interval) => limiter.set_bucket((*full_at, *interval)),
            Usage::Other(snapshot) if limit.clone().enforced(true) == self.limit => {
                limiter.import(now, snapshot);
            }
            Usage::Other(snapshot) => {
                // What has left the window of the old limit must not return in a longer one.
                let mut old = SingleLimiter::new(&self.limit).ok()?;
                old.import(now, snapshot);
                if let Some(snapshot) = old.snapshot(now) {
                    limiter.import(now, &snapshot);
                }
            }
        }
        Some(limiter)
    }

    /// Returns whether this is the usage of a window of this name and of the same algorithm.
    pub(crate) fn is_of(&self, name: &str, limit: &Limit) -> bool {
        let same = |algorithm: Algorithm| std::mem::discriminant(&algorithm);
        *self.name == *name && same(self.limit.algorithm()) == same(limit.algorithm())
    }
}

impl Usage {
    fn move_back(&mut self, by: Nanos) {
        match self {
            Self::Bucket(full_at, _) => *full_at = full_at.saturating_sub(by),
            Self::Other(Snapshot::Window { width, newest, .. }) => {
                // Rounded towards the present, so that a use counts too long rather than too short.
                *newest = newest.saturating_sub(by.0 / width.0.max(1));
            }
            Self::Other(Snapshot::Log { uses }) => {
                for (at, _) in uses {
                    *at = at.saturating_sub(by);
                }
            }
            Self::Other(Snapshot::Fixed { start, .. }) => *start = start.saturating_sub(by),
            Self::Other(Snapshot::Bucket { .. }) => {}
        }
    }
}

impl Name {
    fn decode(reader: &mut Reader) -> Option<Self> {
        Some(Self {
            hash: reader.bytes(16)?.try_into().ok()?,
            until: reader.nanos()?,
            at: reader.nanos()?,
        })
    }
}

impl Refund {
    fn decode(reader: &mut Reader) -> Option<Self> {
        Some(Self {
            serial: reader.number()?,
            until: reader.nanos()?,
            amount: reader.number()?,
        })
    }
}

/// Returns the state of a window that has used nothing.
pub(crate) fn unused(limit: &Limit) -> Snapshot {
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => Snapshot::Bucket { debt: Nanos(0) },
        Algorithm::SlidingWindow { .. } => Snapshot::Window {
            width: Nanos(1),
            newest: 0,
            counts: Vec::new(),
        },
        Algorithm::SlidingLog => Snapshot::Log { uses: Vec::new() },
        Algorithm::FixedWindow { .. } => Snapshot::Fixed {
            start: Nanos(0),
            per: Nanos(1),
            used: 0,
        },
    }
}

fn numbers(snapshot: &Snapshot) -> Vec<u64> {
    match snapshot {
        Snapshot::Bucket { debt } => vec![debt.0],
        Snapshot::Window {
            width,
            newest,
            counts,
        } => {
            let used = counts.iter().rposition(|&count| count > 0);
            let counts = &counts[..used.map_or(0, |last| last + 1)];
            [&[width.0, *newest], counts].concat()
        }
        Snapshot::Log { uses } => uses.iter().flat_map(|(at, units)| [at.0, *units]).collect(),
        Snapshot::Fixed { start, per, used } => vec![start.0, per.0, *used],
    }
}

fn checksum(body: &[u8]) -> [u8; 4] {
    let digest = Sha1::from(body).digest().bytes();
    [digest[0], digest[1], digest[2], digest[3]]
}

fn put(into: &mut Vec<u8>, number: u64) {
    into.extend(number.to_be_bytes());
}

/// Windows, names of windows and notes are fewer than 65,536.
fn put_count(into: &mut Vec<u8>, count: usize) {
    into.extend(u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

fn put_numbers(into: &mut Vec<u8>, numbers: &[u64]) {
    into.extend(
        u32::try_from(numbers.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    for number in numbers {
        put(into, *number);
    }
}
