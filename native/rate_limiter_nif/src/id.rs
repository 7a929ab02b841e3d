//! Ids as keys. Each kind of id is hashed under its own seed, so that ids of different kinds never share a key.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use rate_limiter_core::{Key, Seed};
use rate_limiter_redis::{Kind, Namespace};
use rustler::sys::enif_get_tuple;
use rustler::types::tuple::get_tuple;
use rustler::{Binary, Env, NifResult, OwnedBinary, Resource, ResourceArc, Term, TermType};

use crate::names::NameTable;
use crate::refusal::{answer, Refusal};
use crate::registry::{self, Limiter};
use crate::{atom_bits, atoms};

static SEEDS: OnceLock<Seeds> = OnceLock::new();

/// The hash of the text of each atom that was an id or in one. The number of an atom is another one after a restart, which
/// the key of an id must survive, and its text takes long to read. Two of all atoms that a node can have share a hash with
/// the probability of 2^-25, and no client chooses atoms.
static ATOMS: NameTable = NameTable::new();

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

/// The weight, in bytes, of the largest id that a normal scheduler hashes: some tens of microseconds.
pub(crate) const MAX_WEIGHT: usize = 64 * 1024;

/// The weight of a part of a tuple or list: it takes as long as so many bytes.
const PART_WEIGHT: usize = 64;

/// Why a term has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// `nil`, a float, a map, a pid, or a list or tuple with one of these.
    Invalid,
    /// More than [`MAX_WEIGHT`]: `hash_id` makes a [`LargeId`] of it, on a dirty scheduler.
    Large,
}

/// An id that was hashed before the call about it.
pub(crate) struct LargeId {
    key: Key,
    /// Its name in Redis, if it was hashed for a shared limiter.
    name: Option<Arc<[u8]>>,
}

#[rustler::resource_impl]
impl Resource for LargeId {}

/// The key of an id.
#[inline]
pub(crate) fn key(term: Term) -> Result<Key, NoKey> {
    weighed(term).map(|(key, _)| key)
}

/// The key of an id, and how many bytes were hashed for it.
#[inline]
pub(crate) fn weighed(term: Term) -> Result<(Key, usize), NoKey> {
    if let Ok(string) = Binary::from_term(term) {
        let bytes = string.len();
        if bytes > MAX_WEIGHT {
            return Err(NoKey::Large);
        }
        let key = seeds().string.key(string.as_slice());
        account(term.get_env(), bytes);
        return Ok((key, bytes));
    }
    if let Ok(number) = term.decode::<i64>() {
        return Ok((seeds().integer.key(&number.to_le_bytes()), 0));
    }
    if term.is_atom() {
        let text = named(term).ok_or(NoKey::Invalid)?;
        return Ok((seeds().atom.key(&text.to_le_bytes()), 0));
    }
    unusual(term)
}

#[cold]
fn unusual(term: Term) -> Result<(Key, usize), NoKey> {
    if let Ok(large) = term.decode::<ResourceArc<LargeId>>() {
        return Ok((large.key, 0));
    }
    let (key, weight) = hashed(term, MAX_WEIGHT)?;
    account(term.get_env(), weight);
    Ok((key, weight))
}

/// The key of an id of any kind, and its weight.
fn hashed(term: Term, most: usize) -> Result<(Key, usize), NoKey> {
    if let Ok(string) = Binary::from_term(term) {
        return Ok((seeds().string.key(string.as_slice()), string.len()));
    }
    if is_integer(term) {
        let digits = big_integer(term, most)?;
        return Ok((seeds().big_integer.key(&digits), digits.len()));
    }
    let (bytes, weight) = composite(term, here, most)?;
    Ok((seeds().composite.key(&bytes), weight))
}

/// Hashes an id that is too large for a normal scheduler. The result may take its place in a call about this limiter.
#[rustler::nif(schedule = "DirtyCpu")]
fn hash_id<'a>(env: Env<'a>, limiter: Term<'a>, id: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, || {
        let (key, _) = hashed(id, usize::MAX)?;
        let name = match registry::find(limiter) {
            Ok(Limiter::Shared(shared)) => {
                let (kind, portable) = portable(id, usize::MAX)?;
                Some(shared.namespace.key(kind, &portable))
            }
            _ => None,
        };
        Ok(ResourceArc::new(LargeId { key, name }))
    })
}

/// The key of a request id.
pub(crate) fn request(name: &[u8]) -> Key {
    seeds().request.key(name)
}

/// The name of an id in Redis, for which it must have a key.
pub(crate) fn name(term: Term, namespace: &Namespace) -> Result<Arc<[u8]>, NoKey> {
    if let Ok(large) = term.decode::<ResourceArc<LargeId>>() {
        return large.name.clone().ok_or(NoKey::Invalid);
    }
    let (kind, portable) = portable(term, MAX_WEIGHT)?;
    Ok(namespace.key(kind, &portable))
}

/// The form of an id that is the same on every node.
fn portable(term: Term, most: usize) -> Result<(Kind, Cow<[u8]>), NoKey> {
    if let Ok(string) = Binary::from_term(term) {
        return Ok((Kind::String, Cow::Borrowed(string.as_slice())));
    }
    if let Ok(number) = term.decode::<i64>() {
        let digits = number.to_string().into_bytes();
        return Ok((Kind::Integer, Cow::Owned(digits)));
    }
    if term.is_atom() {
        other_than_nil(term).ok_or(NoKey::Invalid)?;
        let text = atom_bits::text(term).ok_or(NoKey::Invalid)?;
        return Ok((Kind::Atom, Cow::Owned(text.into_bytes())));
    }
    // This includes integers of more than 64 bits.
    let (bytes, _) = composite(term, everywhere, most)?;
    Ok((Kind::Composite, Cow::Owned(bytes)))
}

#[inline]
fn seeds() -> &'static Seeds {
    SEEDS.get_or_init(|| Seeds::of(Seed::random()))
}

/// The secret of this node.
pub(crate) fn secret() -> [u8; 16] {
    seeds().string.to_bytes()
}

/// Continues with the secret of an earlier runtime. Returns whether this node has that secret now: not if it has already
/// hashed ids under one of its own.
pub(crate) fn continue_with(secret: [u8; 16]) -> bool {
    let seeds = SEEDS.get_or_init(|| Seeds::of(Seed::from_bytes(secret)));
    seeds.string.to_bytes() == secret
}

impl Seeds {
    fn of(string: Seed) -> Self {
        Self {
            integer: string.for_kind(1),
            atom: string.for_kind(2),
            big_integer: string.for_kind(3),
            composite: string.for_kind(4),
            request: string.for_kind(5),
            string,
        }
    }
}

fn is_integer(term: Term) -> bool {
    term.get_type() == TermType::Integer
}

/// The hash of the text of an atom other than `nil`, which is not an id.
#[inline]
fn named(term: Term) -> Option<u64> {
    let bits = other_than_nil(term)?;
    match ATOMS.get(bits) {
        0 => first_named(term, bits),
        hash => Some(hash),
    }
}

#[cold]
fn first_named(term: Term, bits: u64) -> Option<u64> {
    let text = atom_bits::text(term)?;
    let [hash, _] = seeds().atom.key(text.as_bytes()).to_words();
    Some(ATOMS.update(bits, |_| hash))
}

fn other_than_nil(term: Term) -> Option<u64> {
    (atoms::nil() != term).then(|| atom_bits::of(term))
}

/// The external form of an integer of more than 64 bits, whose size cannot be asked for.
fn big_integer(term: Term, most: usize) -> Result<OwnedBinary, NoKey> {
    /// 2^2032 and -2^2032 in the external term format.
    fn bound(env: Env, sign: u8) -> Option<Term> {
        let mut bytes = [0; 4 + 255];
        bytes[..4].copy_from_slice(&[131, 110, 255, sign]);
        bytes[4 + 254] = 1;
        env.binary_to_term(&bytes).map(|(bound, _)| bound)
    }
    if most < usize::MAX {
        let env = term.get_env();
        let bounds = bound(env, 1).zip(bound(env, 0));
        let (least, greatest) = bounds.ok_or(NoKey::Large)?;
        if term < least || term > greatest {
            return Err(NoKey::Large);
        }
    }
    Ok(term.to_binary())
}

/// Writes a tuple or list so that different ids have different bytes: each part begins with its kind, and with its
/// length if that varies. Uses a stack instead of recursion, since the sender of an id may choose its depth. Returns the
/// bytes and their weight, which is at most `most`.
fn composite(
    term: Term,
    atom: fn(&mut Vec<u8>, Term) -> Option<()>,
    most: usize,
) -> Result<(Vec<u8>, usize), NoKey> {
    let mut bytes = Vec::with_capacity(64);
    let mut rest = vec![term];
    let mut parts: usize = 1;
    let weight =
        |bytes: usize, parts: usize| bytes.saturating_add(parts.saturating_mul(PART_WEIGHT));
    while let Some(term) = rest.pop() {
        if let Ok(string) = Binary::from_term(term) {
            if weight(bytes.len() + string.len(), parts) > most {
                return Err(NoKey::Large);
            }
            part(&mut bytes, b's', string.as_slice());
        } else if let Ok(number) = term.decode::<i64>() {
            bytes.push(b'i');
            bytes.extend(number.to_le_bytes());
        } else if term.is_atom() {
            atom(&mut bytes, term).ok_or(NoKey::Invalid)?;
        } else if is_integer(term) {
            part(&mut bytes, b'n', &big_integer(term, most)?);
        } else {
            let first = rest.len();
            if let Some(arity) = arity(term) {
                bytes.push(b't');
                if weight(bytes.len(), parts + arity) > most {
                    return Err(NoKey::Large);
                }
                rest.extend(get_tuple(term).map_err(|_| NoKey::Invalid)?);
            } else {
                bytes.push(b'l');
                let mut cell = term;
                while let Ok((head, tail)) = cell.list_get_cell() {
                    rest.push(head);
                    cell = tail;
                    if weight(bytes.len(), parts + rest.len() - first) > most {
                        return Err(NoKey::Large);
                    }
                }
                // Neither another kind of term, nor an improper list.
                if !cell.is_empty_list() {
                    return Err(NoKey::Invalid);
                }
            }
            parts += rest.len() - first;
            bytes.extend(((rest.len() - first) as u64).to_le_bytes());
            rest[first..].reverse();
        }
        if weight(bytes.len(), parts) > most {
            return Err(NoKey::Large);
        }
    }
    let weight = weight(bytes.len(), parts);
    Ok((bytes, weight))
}

/// How many parts a tuple has. Unlike Rustler's function, does not copy them.
#[allow(unsafe_code)]
fn arity(term: Term) -> Option<usize> {
    let (mut arity, mut parts) = (0, std::ptr::null());
    let env = term.get_env().as_c_arg();
    // SAFETY: the term is of this environment, and both places are written only if it is a tuple.
    let is_tuple = unsafe { enif_get_tuple(env, term.as_c_arg(), &raw mut arity, &raw mut parts) };
    (is_tuple == 1).then(|| arity.try_into().unwrap_or(usize::MAX))
}

/// An atom by the hash of its text.
fn here(bytes: &mut Vec<u8>, atom: Term) -> Option<()> {
    bytes.push(b'a');
    bytes.extend(named(atom)?.to_le_bytes());
    Some(())
}

/// An atom by its name.
fn everywhere(bytes: &mut Vec<u8>, atom: Term) -> Option<()> {
    other_than_nil(atom)?;
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

impl From<NoKey> for Refusal {
    #[cold]
    fn from(reason: NoKey) -> Self {
        match reason {
            NoKey::Invalid => atoms::bad_id().into(),
            NoKey::Large => atoms::large_id().into(),
        }
    }
}
