//! Ids as keys. Distinct ids never share one: each kind is hashed under a seed of its own.

use std::sync::OnceLock;

use rate_limiter_core::{Key, Seed};
use rustler::{Binary, Env, Term, TermType};

use crate::{atoms, word};

/// The secrets under which this node hashes ids, one for each kind.
struct Seeds {
    string: Seed,
    integer: Seed,
    atom: Seed,
    big_integer: Seed,
    composite: Seed,
}

/// So much hashing is worth a hundredth of a scheduler's time slice (10 microseconds).
const BYTES_PER_PERCENT: usize = 16 * 1024;

/// The key of an id; `None` if the term is none: `nil`, a float, a map, a pid, or a list or tuple with one of these.
#[inline]
pub(crate) fn key(term: Term) -> Option<Key> {
    if let Ok(string) = Binary::from_term(term) {
        let key = seeds().string.key(string.as_slice());
        account(term.get_env(), string.len());
        return Some(key);
    }
    if let Ok(number) = term.decode::<i64>() {
        return Some(seeds().integer.key(&number.to_le_bytes()));
    }
    if term.is_atom() {
        return named(term).map(|word| seeds().atom.key(&word.to_le_bytes()));
    }
    if is_integer(term) {
        return Some(seeds().big_integer.key(&term.to_binary()));
    }
    let bytes = composite(term)?;
    account(term.get_env(), bytes.len());
    Some(seeds().composite.key(&bytes))
}

#[inline]
fn seeds() -> &'static Seeds {
    static SEEDS: OnceLock<Seeds> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let string = Seed::random();
        Seeds {
            integer: string.for_kind(1),
            atom: string.for_kind(2),
            big_integer: string.for_kind(3),
            composite: string.for_kind(4),
            string,
        }
    })
}

fn is_integer(term: Term) -> bool {
    term.get_type() == TermType::Integer
}

/// An atom's word; `nil` is no id.
fn named(term: Term) -> Option<u64> {
    (atoms::nil() != term).then(|| word::of(term))
}

/// Writes a tuple or list so that no two differ and read the same: every part says its kind, and its length if that
/// varies. A stack instead of recursion, since whoever sends an id may choose how deep it goes.
fn composite(term: Term) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(64);
    let mut rest = vec![term];
    while let Some(term) = rest.pop() {
        if let Ok(string) = Binary::from_term(term) {
            part(&mut bytes, b's', string.as_slice());
        } else if let Ok(number) = term.decode::<i64>() {
            bytes.push(b'i');
            bytes.extend(number.to_le_bytes());
        } else if term.is_atom() {
            bytes.push(b'a');
            bytes.extend(named(term)?.to_le_bytes());
        } else if is_integer(term) {
            part(&mut bytes, b'n', &term.to_binary());
        } else if let Ok(parts) = rustler::types::tuple::get_tuple(term) {
            bytes.push(b't');
            bytes.extend((parts.len() as u64).to_le_bytes());
            rest.extend(parts.into_iter().rev());
        } else {
            // An improper list has no length.
            let length = term.list_length().ok()?;
            bytes.push(b'l');
            bytes.extend((length as u64).to_le_bytes());
            let first = rest.len();
            rest.extend(term.into_list_iterator().ok()?);
            rest[first..].reverse();
        }
    }
    Some(bytes)
}

fn part(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    bytes.push(kind);
    bytes.extend((content.len() as u64).to_le_bytes());
    bytes.extend(content);
}

/// Lets the scheduler know of a long id's price, so that whoever sends such ids gets no more than its share.
#[inline]
fn account(env: Env, bytes: usize) {
    if bytes >= BYTES_PER_PERCENT {
        let percent = (bytes / BYTES_PER_PERCENT).min(100);
        // Whether the slice is spent matters to the emulator, which looks when this function returns.
        let _spent = rustler::schedule::consume_timeslice(env, percent.try_into().unwrap_or(100));
    }
}
