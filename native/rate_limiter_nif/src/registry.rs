//! The limiters of this node by name and by handle.

use std::sync::Arc;

use rustler::Term;

use crate::handle::{Handle, FIRST_SHARED, UNUSED_BITS};
use crate::local::{self, Local};
use crate::names::NameTable;
use crate::refusal::Refusal;
use crate::shared::{self, Shared};
use crate::{atom_bits, atoms};

/// A limiter that a call named.
pub(crate) enum Limiter {
    Local(Local),
    Shared(Arc<Shared>),
}

/// Set on the meaning of a name that test processes may own.
const TEST_OWNED: u64 = UNUSED_BITS[0];

/// Set on the meaning of a name whose limiter admits nothing any more, since its instance is about to stop.
const STOPPING: u64 = UNUSED_BITS[1];

const FLAGS: u64 = TEST_OWNED | STOPPING;

static NAMES: NameTable = NameTable::new();

/// Finds the limiter that a name or a handle means.
#[inline]
pub(crate) fn find(limiter: Term) -> Result<Limiter, Refusal> {
    // The bits of another term than an atom are never a name, so the kind of the term matters only if no name is found.
    let handle = match NAMES.get(atom_bits::of(limiter)) {
        0 => by_handle(limiter)?,
        meaning if meaning & (FLAGS | FIRST_SHARED) == 0 => Handle::from_number(meaning),
        meaning if meaning & TEST_OWNED != 0 => return Err(atoms::test_owned().into()),
        meaning if meaning & STOPPING != 0 => return Err(atoms::stopping().into()),
        meaning => Handle::from_number(meaning),
    };
    if let Some(local) = local::find(handle) {
        return Ok(Limiter::Local(local));
    }
    shared::find(handle)
        .map(Limiter::Shared)
        .ok_or_else(|| atoms::unknown_limiter().into())
}

#[cold]
fn by_handle(limiter: Term) -> Result<Handle, Refusal> {
    if limiter.is_atom() {
        return Err(atoms::unknown_limiter().into());
    }
    Ok(Handle::from_number(limiter.decode()?))
}

/// Finds the local limiter of a gate.
pub(crate) fn find_local(limiter: Term) -> Result<Local, Refusal> {
    match find(limiter)? {
        Limiter::Local(local) => Ok(local),
        Limiter::Shared(_) => Err(atoms::unknown_limiter().into()),
    }
}

/// Finds the shared limiter that a name or a handle means, also while tests own limiters of the name.
pub(crate) fn find_shared(limiter: Term) -> Result<Arc<Shared>, Refusal> {
    let handle = match handle(atom_bits::of(limiter)) {
        Some(handle) => handle,
        None => by_handle(limiter)?,
    };
    shared::find(handle).ok_or_else(|| atoms::unknown_limiter().into())
}

/// The handle of the limiter of this name that belongs to no test.
pub(crate) fn handle(name: u64) -> Option<Handle> {
    match NAMES.get(name) & !FLAGS {
        0 => None,
        number => Some(Handle::from_number(number)),
    }
}

/// Closes a limiter. Later calls with its handle find no limiter.
pub(crate) fn close(handle: Handle) {
    if handle.is_shared() {
        shared::close(handle);
    } else {
        local::close(handle);
    }
}

/// Makes `name` mean `handle`, unless it means another limiter that is open. Returns whether it did.
pub(crate) fn bind(name: u64, handle: Handle) -> bool {
    let meaning = NAMES.update(name, |meaning| {
        if is_open(Handle::from_number(meaning & !FLAGS)) {
            meaning
        } else {
            meaning & TEST_OWNED | handle.number()
        }
    });
    meaning & !FLAGS == handle.number()
}

/// Takes the name from `handle`, if it has it.
pub(crate) fn unbind(name: u64, handle: Handle) {
    NAMES.update(name, |meaning| {
        if meaning & !FLAGS == handle.number() {
            meaning & TEST_OWNED
        } else {
            meaning
        }
    });
}

/// Lets calls by the name of this limiter return `:stopping`, until the name is free.
pub(crate) fn stop(name: u64, handle: Handle) {
    NAMES.update(name, |meaning| {
        if meaning & !FLAGS == handle.number() {
            meaning | STOPPING
        } else {
            meaning
        }
    });
}

/// Sets whether test processes may own limiters of this name.
pub(crate) fn set_test_owned(name: u64, owned: bool) {
    NAMES.update(name, |meaning| {
        if owned {
            meaning | TEST_OWNED
        } else {
            meaning & !TEST_OWNED
        }
    });
}

fn is_open(handle: Handle) -> bool {
    if handle.is_shared() {
        shared::find(handle).is_some()
    } else {
        local::is_open(handle)
    }
}
