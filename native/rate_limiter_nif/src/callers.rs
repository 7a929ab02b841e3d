//! The ids of a limiter with the most calls and the most denials lately, if it counts them.

use std::sync::atomic::{AtomicU8, Ordering};

use rate_limiter_core::{Epoch, Key, Most, Ranked, Tag, Top, Usage};
use rate_limiter_distributed::Response;
use rustler::{Encoder, Env, NifResult, Term, TermType};

use crate::binary::binary;
use crate::decode::Arg;
use crate::limiter::decode_clock;
use crate::refusal::answer;
use crate::registry::{self, Limiter};
use crate::{atom_bits, atoms};

/// The bytes of the largest id that is kept, in the external term format. Of a larger one only the key is known.
const MAX_ID: usize = 256;

const OFF: u8 = 0;
const HASHED: u8 = 1;
const KEPT: u8 = 2;

/// The counts of a limiter's ids. Off by default.
#[derive(Default)]
pub(crate) struct Callers {
    mode: AtomicU8,
    top: Top,
}

/// An id, for when the answer to its call is known.
pub(crate) struct Caller {
    key: Key,
    id: Option<Box<[u8]>>,
}

atom_enum!(MostTerm => Most { Calls = Calls, Denied = Denied });

/// Begins to count which ids of a limiter call most, `capacity` of them for each window. Forgets earlier counts.
#[rustler::nif(schedule = "DirtyCpu")]
fn count_top<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    capacity: usize,
    keeps_ids: bool,
    clock: Term<'a>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let limiter = registry::find(limiter)?;
        let clock = decode_clock(clock)?;
        let tags = limiter.tags()?;
        let (callers, epoch) = limiter.callers();
        callers.top.open(epoch, &clock, &tags, capacity.max(1));
        let mode = if keeps_ids { KEPT } else { HASHED };
        callers.mode.store(mode, Ordering::Relaxed);
        if let Limiter::Local(local) = &limiter {
            local.place.watch();
        }
        Ok(atoms::ok())
    })
}

/// The ids with the most calls or denials of a window, `[{label, calls, denied}]`, or `:off`. A label is `{:id, binary}` of
/// an id that is kept, in the external term format, and `{:key, binary}` else.
#[rustler::nif(schedule = "DirtyCpu")]
fn top<'a>(
    env: Env<'a>,
    limiter: Term<'a>,
    window: Term<'a>,
    Arg(by): Arg<MostTerm>,
    count: usize,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let limiter = registry::find(limiter)?;
        let tag = atom_bits::of(window);
        if !window.is_atom() || !limiter.tags()?.contains(&tag) {
            return Err(atoms::unknown_window().into());
        }
        let (callers, epoch) = limiter.callers();
        if !callers.is_on() {
            return Err(atoms::off().into());
        }
        let most = callers.top.most(epoch, tag, by.into(), count);
        let rows = most.iter().map(|row| ranked(env, row));
        Ok(rows.collect::<Vec<_>>())
    })
}

/// The key of an id: 16 bytes that must not be shown, since they tell where in the table its state lies.
#[rustler::nif]
fn id_key<'a>(env: Env<'a>, id: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, || {
        let key = crate::id::key(id)?;
        Ok(binary(env, &key.to_bytes()))
    })
}

impl Callers {
    pub(crate) fn is_on(&self) -> bool {
        self.mode.load(Ordering::Relaxed) != OFF
    }

    /// Forgets all.
    pub(crate) fn close(&self) {
        if self.mode.swap(OFF, Ordering::Relaxed) != OFF {
            self.top.close();
        }
    }

    /// Counts a call that was decided.
    pub(crate) fn count(&self, epoch: Epoch, key: Key, id: Term, usages: &[(Tag, Usage)]) {
        match self.mode.load(Ordering::Relaxed) {
            OFF => (),
            KEPT => self.record(epoch, key, usages, || kept(id)),
            _ => self.record(epoch, key, usages, || None),
        }
    }

    /// Returns what is to be counted when the call of this id is answered.
    pub(crate) fn expect(&self, key: Key, id: Term) -> Option<Caller> {
        let id = match self.mode.load(Ordering::Relaxed) {
            OFF => return None,
            KEPT => kept(id),
            _ => None,
        };
        Some(Caller { key, id })
    }

    /// Counts a call of a shared limiter that was answered. Without usages nothing is known of its windows.
    pub(crate) fn answered(&self, caller: &Caller, response: &Response) {
        if let Some(answer) = &response.answer {
            let id = || caller.id.clone();
            self.record(SHARED_EPOCH, caller.key, answer.usages(), id);
        }
    }

    fn record(
        &self,
        epoch: Epoch,
        key: Key,
        usages: &[(Tag, Usage)],
        id: impl Fn() -> Option<Box<[u8]>>,
    ) {
        for (tag, usage) in usages {
            self.top.record(epoch, key, *tag, !usage.fits(), &id);
        }
    }
}

/// A shared limiter is opened once.
const SHARED_EPOCH: Epoch = Epoch::from_number(0);

impl Limiter {
    fn callers(&self) -> (&Callers, Epoch) {
        match self {
            Self::Local(local) => (&local.place.callers, local.epoch),
            Self::Shared(shared) => (&shared.callers, SHARED_EPOCH),
        }
    }
}

/// An id in the external term format.
fn kept(id: Term) -> Option<Box<[u8]>> {
    let is_large = match id.get_type() {
        TermType::Binary => id
            .decode::<rustler::Binary>()
            .map_or(true, |text| text.len() > MAX_ID),
        // An id that was hashed before the call.
        TermType::Ref => true,
        _ => false,
    };
    if is_large {
        return None;
    }
    let bytes = id.to_binary();
    (bytes.len() <= MAX_ID).then(|| bytes.as_slice().into())
}

fn ranked<'a>(env: Env<'a>, row: &Ranked) -> Term<'a> {
    let label = match &row.label {
        Some(id) => (atoms::id(), binary(env, id)),
        None => (atoms::key(), binary(env, &row.key.to_bytes())),
    };
    (label, row.calls, row.denied).encode(env)
}
