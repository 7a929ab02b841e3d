//! Ids as keys. Each kind of id is hashed under its own seed, so that ids of different kinds never share a key.

use std::borrow::Cow;
use std::sync::OnceLock;

use rate_limiter_core::{Key, Seed};
use rate_limiter_redis::Kind;
use rustler::{Binary, Env, NifResult, Term, TermType};

use crate::catch_panic::catch_panic;
use crate::{atom_bits, atoms};

/// The secret seeds of this node, one for each kind of id.
struct Seeds {
    string: Seed,
    integer: Seed,
    atom: Seed,
    big_integer: Seed,
    composite: Seed,
    request: Seed,
}

/// The bytes that are hashed in a hundredth of a scheduler's time slice (10 microseconds).
const BYTES_PER_PERCENT: usize = 16 * 1024;

/// The key of an id. `None` for an invalid id: `nil`, a float, a map, a pid, or a list or tuple with one of these.
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
    let bytes = composite(term, here)?;
    account(term.get_env(), bytes.len());
    Some(seeds().composite.key(&bytes))
}

/// The key of a request id.
pub(crate) fn request(name: &[u8]) -> Key {
    seeds().request.key(name)
}

/// Returns whether a term is a valid id.
#[rustler::nif]
fn is_id(term: Term) -> NifResult<bool> {
    catch_panic(|| Ok(key(term).is_some()))
}

/// The form of an id that is the same on every node. `None` for an invalid id.
pub(crate) fn portable(term: Term) -> Option<(Kind, Cow<[u8]>)> {
    if let Ok(string) = Binary::from_term(term) {
        return Some((Kind::String, Cow::Borrowed(string.as_slice())));
    }
    if let Ok(number) = term.decode::<i64>() {
        let digits = number.to_string().into_bytes();
        return Some((Kind::Integer, Cow::Owned(digits)));
    }
    if term.is_atom() {
        named(term)?;
        return Some((Kind::Atom, Cow::Owned(atom_bits::text(term)?.into_bytes())));
    }
    // This includes integers of more than 64 bits.
    let bytes = composite(term, everywhere)?;
    Some((Kind::Composite, Cow::Owned(bytes)))
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
            request: string.for_kind(5),
            string,
        }
    })
}

fn is_integer(term: Term) -> bool {
    term.get_type() == TermType::Integer
}

/// The bits of an atom other than `nil`, which is not an id.
fn named(term: Term) -> Option<u64> {
    (atoms::nil() != term).then(|| atom_bits::of(term))
}

/// Writes a tuple or list so that different ids have different bytes: each part begins with its kind, and with its
/// length if that varies. Uses a stack instead of recursion, since the sender of an id may choose its depth.
fn composite(term: Term, atom: fn(&mut Vec<u8>, Term) -> Option<()>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(64);
    let mut rest = vec![term];
    while let Some(term) = rest.pop() {
        if let Ok(string) = Binary::from_term(term) {
            part(&mut bytes, b's', string.as_slice());
        } else if let Ok(number) = term.decode::<i64>() {
            bytes.push(b'i');
            bytes.extend(number.to_le_bytes());
        } else if term.is_atom() {
            atom(&mut bytes, term)?;
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

/// An atom by its number on this node.
fn here(bytes: &mut Vec<u8>, atom: Term) -> Option<()> {
    bytes.push(b'a');
    bytes.extend(named(atom)?.to_le_bytes());
    Some(())
}

/// An atom by its name.
fn everywhere(bytes: &mut Vec<u8>, atom: Term) -> Option<()> {
    named(atom)?;
    part(bytes, b'a', atom_bits::text(atom)?.as_bytes());
    Some(())
}

fn part(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    bytes.push(kind);
    bytes.extend((content.len() as u64).to_le_bytes());
    bytes.extend(content);
}

/// Charges the scheduler for a long id, so that a caller that sends such ids does not get more than its share.
#[inline]
fn account(env: Env, bytes: usize) {
    if bytes >= BYTES_PER_PERCENT {
        let percent = (bytes / BYTES_PER_PERCENT).min(100);
        // The runtime itself reads whether the slice is spent, when this function returns.
        let _spent = rustler::schedule::consume_timeslice(env, percent.try_into().unwrap_or(100));
    }
}
