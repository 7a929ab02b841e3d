//! The limiters of this node, in a static table, by handle.
//!
//! A handle is a place in the table and the epoch of the limiter in it, in one integer, so a check needs no reference
//! count: places are never freed, and a stale handle's epoch is refused by the limiter itself.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rate_limiter_core::{Epoch, Limit, LimitError, Limiter, Options, Tag};

use crate::names::Names;
use crate::remote;

/// Names a limiter on this node, until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u64);

/// What a name means to a caller.
#[derive(Clone, Copy)]
pub(crate) enum Meaning {
    Limiter(Handle),
    /// Test processes may own a limiter of this name: ask them first.
    TestOwned,
    /// A limiter of which this node does not decide alone.
    Remote,
    Nothing,
}

/// Which `:check` events a limiter's calls emit. Kept for Elixir, which so needs no look-up of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Events {
    All,
    Denials,
    None,
}

/// A place in the table.
pub(crate) struct Place {
    pub(crate) limiter: Limiter,
    events: AtomicU8,
}

struct Registry {
    /// Chunk `n` has `FIRST_CHUNK << n` places, made when needed and never freed.
    chunks: [OnceLock<Box<[OnceLock<Place>]>>; CHUNKS],
    names: Names,
    free: Mutex<Free>,
}

struct Free {
    /// Places that were used and are not now.
    places: Vec<u64>,
    /// The first place that never was.
    next: u64,
}

const FIRST_CHUNK: u64 = 64;
const CHUNKS: usize = 18;
const PLACE_BITS: u32 = 24;
/// A name that test processes may own. Above the bits of any handle.
const TEST_OWNED: u64 = 1 << 62;
/// The handle of a limiter that is not in this table: the numbers of `remote` begin here.
pub(crate) const REMOTE: u64 = 1 << 61;

static REGISTRY: Registry = Registry {
    chunks: [const { OnceLock::new() }; CHUNKS],
    names: Names::new(),
    free: Mutex::new(Free {
        places: Vec::new(),
        next: 0,
    }),
};

impl Handle {
    fn new(place: u64, epoch: Epoch) -> Self {
        Self(u64::from(epoch.number()) << PLACE_BITS | place)
    }

    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // a number that is no handle finds no limiter of its epoch
    pub(crate) const fn epoch(self) -> Epoch {
        Epoch::from_number((self.0 >> PLACE_BITS) as u32)
    }

    /// Whether it is that of a limiter outside of this table.
    pub(crate) const fn is_remote(self) -> bool {
        self.0 & !(TEST_OWNED - 1) == 0 && self.0 & REMOTE != 0
    }

    /// Where the limiter is. It may have been closed since: then its epoch has ended.
    #[inline]
    pub(crate) fn place(self) -> Option<&'static Place> {
        if self.0 >> (PLACE_BITS + u32::BITS) != 0 {
            return None;
        }
        let (chunk, offset) = position(self.0 & ((1 << PLACE_BITS) - 1));
        REGISTRY.chunks.get(chunk)?.get()?.get(offset)?.get()
    }
}

impl Place {
    #[inline]
    pub(crate) fn events(&self) -> Events {
        match self.events.load(Ordering::Relaxed) {
            0 => Events::All,
            1 => Events::Denials,
            _ => Events::None,
        }
    }
}

/// What `name` means to an ordinary caller.
#[inline]
pub(crate) fn meaning(name: u64) -> Meaning {
    match REGISTRY.names.get(name) {
        0 => Meaning::Nothing,
        word if word & (TEST_OWNED | REMOTE) != 0 => elsewhere(word),
        word => Meaning::Limiter(Handle(word)),
    }
}

/// What a name means that is no limiter of this table.
#[cold]
fn elsewhere(word: u64) -> Meaning {
    if word & TEST_OWNED != 0 {
        Meaning::TestOwned
    } else {
        Meaning::Remote
    }
}

/// The limiter of this name that belongs to no test.
pub(crate) fn shared(name: u64) -> Option<Handle> {
    match REGISTRY.names.get(name) & !TEST_OWNED {
        0 => None,
        word => Some(Handle(word)),
    }
}

/// Opens a limiter, nameless as yet.
pub(crate) fn open(
    limits: &[(Tag, Limit)],
    options: Options,
    events: Events,
) -> Result<Handle, LimitError> {
    let mut free = REGISTRY.free.lock();
    let at = free.places.last().copied().unwrap_or(free.next);
    let (chunk, offset) = position(at);
    let places = REGISTRY.chunks[chunk]
        .get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| OnceLock::new()).collect());
    let place = places[offset].get_or_init(|| Place {
        limiter: Limiter::vacant(),
        events: AtomicU8::new(0),
    });
    let epoch = place.limiter.open(limits, options)?;
    place.events.store(events as u8, Ordering::Relaxed);
    if free.places.pop().is_none() {
        free.next += 1;
    }
    Ok(Handle::new(at, epoch))
}

/// Closes a limiter, once: later calls with its handle find none.
pub(crate) fn close(handle: Handle) {
    if handle.is_remote() {
        return remote::close(handle);
    }
    let Some(place) = handle.place() else { return };
    if place.limiter.close(handle.epoch()).is_ok() {
        let at = handle.0 & ((1 << PLACE_BITS) - 1);
        REGISTRY.free.lock().places.push(at);
    }
}

/// Makes `name` mean `handle`, unless it means another limiter that is open.
pub(crate) fn bind(name: u64, handle: Handle) -> Result<(), Handle> {
    let word = REGISTRY.names.update(name, |word| {
        let present = Handle(word & !TEST_OWNED);
        if is_open(present) {
            word
        } else {
            word & TEST_OWNED | handle.0
        }
    });
    match Handle(word & !TEST_OWNED) {
        bound if bound == handle => Ok(()),
        present => Err(present),
    }
}

/// Takes the name from `handle`, if it has it.
pub(crate) fn unbind(name: u64, handle: Handle) {
    REGISTRY.names.update(name, |word| {
        if word & !TEST_OWNED == handle.0 {
            word & TEST_OWNED
        } else {
            word
        }
    });
}

/// Says whether test processes may own limiters of this name.
pub(crate) fn set_test_owned(name: u64, owned: bool) {
    REGISTRY.names.update(name, |word| {
        if owned {
            word | TEST_OWNED
        } else {
            word & !TEST_OWNED
        }
    });
}

fn is_open(handle: Handle) -> bool {
    if handle.is_remote() {
        return remote::find(handle).is_some();
    }
    handle
        .place()
        .is_some_and(|place| place.limiter.limits(handle.epoch()).is_ok())
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // a place has 24 bits
fn position(place: u64) -> (usize, usize) {
    let numbered = place + FIRST_CHUNK;
    let chunk = numbered.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (numbered - (FIRST_CHUNK << chunk)) as usize)
}
