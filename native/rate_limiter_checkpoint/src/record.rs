//! What sections contain, as bytes and back.

use std::time::Duration;

use rate_limiter_core::{Algorithm, Key, Known, Limit, Nanos, Snapshot};

use crate::bytes::{put_number, put_text, Bytes};
use crate::error::Error;

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The name of the instance, as any bytes.
    pub instance: Vec<u8>,
    /// The secret under which ids were hashed, see [`Seed`](rate_limiter_core::Seed).
    pub seed: [u8; 16],
    /// When it was begun, since 1970 in UTC.
    pub written: Nanos,
}

/// A limiter of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// The name of each window, and its limit.
    pub windows: Vec<(String, Limit)>,
}

const BUCKET: u8 = 0;
const WINDOW: u8 = 1;
const LOG: u8 = 2;
const FIXED: u8 = 3;
const FIXED_FROM_FIRST_USE: u8 = 4;

impl Head {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_text(&mut bytes, &self.instance);
        bytes.extend(self.seed);
        put_number(&mut bytes, self.written.0);
        bytes
    }

    pub(crate) fn from_bytes(mut bytes: Bytes) -> Result<Self, Error> {
        Ok(Self {
            instance: bytes.text()?.to_vec(),
            seed: bytes.array()?,
            written: Nanos(bytes.number()?),
        })
    }
}

impl Described {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_text(&mut bytes, self.name.as_bytes());
        put_number(&mut bytes, self.windows.len() as u64);
        for (name, limit) in &self.windows {
            put_text(&mut bytes, name.as_bytes());
            let (algorithm, detail) = match limit.algorithm() {
                Algorithm::TokenBucket { .. } => (BUCKET, limit.capacity()),
                Algorithm::SlidingWindow { sub_windows } => (WINDOW, sub_windows.into()),
                Algorithm::SlidingLog => (LOG, 0),
                Algorithm::FixedWindow { aligned: true } => (FIXED, 0),
                Algorithm::FixedWindow { aligned: false } => (FIXED_FROM_FIRST_USE, 0),
            };
            bytes.push(algorithm);
            put_number(&mut bytes, limit.limit());
            put_number(&mut bytes, Nanos::from(limit.per()).0);
            put_number(&mut bytes, detail);
        }
        bytes
    }

    pub(crate) fn from_bytes(mut bytes: Bytes) -> Result<Self, Error> {
        let name = bytes.string()?;
        let count = bytes.count()?;
        let windows = (0..count).map(|_| {
            let name = bytes.string()?;
            let algorithm = bytes.byte()?;
            let (limit, per) = (bytes.number()?, Duration::from_nanos(bytes.number()?));
            let detail = bytes.number()?;
            let limit = match algorithm {
                BUCKET => Limit::token_bucket(limit, per).with_burst(detail),
                WINDOW => Limit::sliding_window(limit, per)
                    .with_sub_windows(u32::try_from(detail).map_err(|_| LIMIT)?),
                LOG => Limit::sliding_log(limit, per),
                FIXED => Limit::fixed_window(limit, per),
                FIXED_FROM_FIRST_USE => Limit::fixed_window(limit, per).from_first_use(),
                _ => return Err(LIMIT),
            };
            limit.validate().map_err(|_| LIMIT)?;
            Ok((name, limit))
        });
        let windows = windows.collect::<Result<_, Error>>()?;
        Ok(Self { name, windows })
    }
}

const LIMIT: Error = Error::Damaged("a limit is none");

/// Writes what a key has used. The tags of its windows are their places in [`Described::windows`], and its moment is
/// written as the distance from `base`.
pub(crate) fn put_row(into: &mut Vec<u8>, key: Key, known: &Known, base: Nanos) {
    into.extend(key.to_bytes());
    put_number(into, known.at.0.wrapping_sub(base.0));
    put_number(into, known.windows.len() as u64);
    for (window, state) in &known.windows {
        put_number(into, *window);
        match state {
            Snapshot::Bucket { debt } => {
                into.push(BUCKET);
                put_number(into, debt.0);
            }
            Snapshot::Window {
                width,
                newest,
                counts,
            } => {
                into.push(WINDOW);
                put_number(into, width.0);
                put_number(into, *newest);
                put_number(into, counts.len() as u64);
                for &count in counts {
                    put_number(into, count);
                }
            }
            Snapshot::Log { uses } => {
                into.push(LOG);
                put_number(into, uses.len() as u64);
                let mut before = 0;
                for &(at, units) in uses {
                    put_number(into, at.0.wrapping_sub(before));
                    put_number(into, units);
                    before = at.0;
                }
            }
            Snapshot::Fixed { start, per, used } => {
                into.push(FIXED);
                put_number(into, start.0);
                put_number(into, per.0);
                put_number(into, *used);
            }
        }
    }
}

pub(crate) fn row(bytes: &mut Bytes, base: Nanos, windows: usize) -> Result<(Key, Known), Error> {
    let key = Key::from_bytes(bytes.array()?).ok_or(Error::Damaged("a key is none"))?;
    let at = Nanos(base.0.wrapping_add(bytes.number()?));
    let count = bytes.count()?;
    let states = (0..count).map(|_| {
        let window = bytes.number()?;
        if window >= windows as u64 {
            return Err(Error::Damaged("a window is unknown"));
        }
        Ok((window, state(bytes)?))
    });
    let windows = states.collect::<Result<_, Error>>()?;
    Ok((key, Known { at, windows }))
}

fn state(bytes: &mut Bytes) -> Result<Snapshot, Error> {
    Ok(match bytes.byte()? {
        BUCKET => Snapshot::Bucket {
            debt: Nanos(bytes.number()?),
        },
        WINDOW => {
            let (width, newest, count) = (Nanos(bytes.number()?), bytes.number()?, bytes.count()?);
            if width.0 == 0 {
                return Err(Error::Damaged("a sub-window has no length"));
            }
            let counts = (0..count).map(|_| bytes.number());
            Snapshot::Window {
                width,
                newest,
                counts: counts.collect::<Result<_, Error>>()?,
            }
        }
        LOG => {
            let count = bytes.count()?;
            let mut before = 0_u64;
            let uses = (0..count).map(|_| {
                before = before
                    .checked_add(bytes.number()?)
                    .ok_or(Error::Damaged("a log is out of order"))?;
                Ok((Nanos(before), bytes.number()?))
            });
            Snapshot::Log {
                uses: uses.collect::<Result<_, Error>>()?,
            }
        }
        FIXED => Snapshot::Fixed {
            start: Nanos(bytes.number()?),
            per: Nanos(bytes.number()?),
            used: bytes.number()?,
        },
        _ => return Err(Error::Damaged("a state is of an unknown kind")),
    })
}
