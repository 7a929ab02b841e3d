//! The limiters that this node decides by itself, in a static table.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU8, Ordering};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rate_limiter_core::{Epoch, Limit, LimitError, Limiter, Options, Scale, Tag};

use crate::callers::Callers;
use crate::handle::Handle;

/// Which `:check` events the calls of a limiter emit. The library keeps this for Elixir, which then needs no look-up.
#[derive(Clone, Copy, rustler::NifUnitEnum)]
#[repr(u8)]
pub(crate) enum Events {
    All,
    Denials,
    None,
}

/// A place in the table: a limiter that is open, or waits to be opened again.
pub(crate) struct Place {
    pub(crate) limiter: Limiter,
    events: AtomicU8,
    /// Whether there is a threshold, or callers are counted: most calls look at nothing else.
    watched: AtomicBool,
    /// In parts per million; 0 for none.
    threshold: AtomicU32,
    pub(crate) callers: Callers,
}

/// A limiter as a call found it. It may have been closed since: then its epoch has ended.
#[derive(Clone, Copy)]
pub(crate) struct Local {
    pub(crate) place: &'static Place,
    pub(crate) epoch: Epoch,
}

struct Table {
    /// Chunk `n` has `FIRST_CHUNK << n` places, made when needed and never freed.
    chunks: [OnceLock<Box<[OnceLock<Place>]>>; CHUNKS],
    free: Mutex<Free>,
}

struct Free {
    /// Places of closed limiters.
    places: Vec<u64>,
    /// The first place that was never used.
    next: u64,
}

const FIRST_CHUNK: u64 = 64;
const CHUNKS: usize = 18;

static TABLE: Table = Table {
    chunks: [const { OnceLock::new() }; CHUNKS],
    free: Mutex::new(Free {
        places: Vec::new(),
        next: 0,
    }),
};

impl Place {
    #[inline]
    pub(crate) fn events(&self) -> Events {
        match self.events.load(Ordering::Relaxed) {
            0 => Events::All,
            1 => Events::Denials,
            _ => Events::None,
        }
    }

    /// Whether answers need more than the usage.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Lets callers be counted.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    /// The share of a limit whose use is reported.
    pub(crate) fn threshold(&self) -> Option<Scale> {
        match self.threshold.load(Ordering::Relaxed) {
            0 => None,
            ppm => Some(Scale::from_ppm(ppm)),
        }
    }
}

/// Finds the place of a handle.
#[inline]
pub(crate) fn find(handle: Handle) -> Option<Local> {
    let (chunk, offset) = position(handle.place()?);
    let place = TABLE.chunks.get(chunk)?.get()?.get(offset)?.get()?;
    let epoch = handle.epoch();
    Some(Local { place, epoch })
}

/// Opens a limiter without a name.
pub(crate) fn open(
    limits: &[(Tag, Limit)],
    options: Options,
    events: Events,
    threshold: Option<Scale>,
) -> Result<Handle, LimitError> {
    let mut free = TABLE.free.lock();
    let at = free.places.last().copied().unwrap_or(free.next);
    let (chunk, offset) = position(at);
    let places = TABLE.chunks[chunk]
        .get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| OnceLock::new()).collect());
    let place = places[offset].get_or_init(|| Place {
        limiter: Limiter::closed(),
        events: AtomicU8::new(0),
        watched: AtomicBool::new(false),
        threshold: AtomicU32::new(0),
        callers: Callers::default(),
    });
    let epoch = place.limiter.open(limits, options)?;
    place.events.store(events as u8, Ordering::Relaxed);
    let ppm = threshold.map_or(0, Scale::ppm);
    place.threshold.store(ppm, Ordering::Relaxed);
    place.watched.store(threshold.is_some(), Ordering::Relaxed);
    if free.places.pop().is_none() {
        free.next += 1;
    }
    Ok(Handle::local(at, epoch))
}

/// Closes a limiter. Later calls with its handle find no limiter, and a second close does nothing.
pub(crate) fn close(handle: Handle) {
    if let (Some(local), Some(at)) = (find(handle), handle.place()) {
        if local.place.limiter.close(local.epoch).is_ok() {
            local.place.callers.close();
            TABLE.free.lock().places.push(at);
        }
    }
}

pub(crate) fn is_open(handle: Handle) -> bool {
    find(handle).is_some_and(|local| local.place.limiter.limits(local.epoch).is_ok())
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // a place has 24 bits
fn position(place: u64) -> (usize, usize) {
    let numbered = place + FIRST_CHUNK;
    let chunk = numbered.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (numbered - (FIRST_CHUNK << chunk)) as usize)
}
