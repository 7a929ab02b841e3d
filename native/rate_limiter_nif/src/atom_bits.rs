//! Atoms as integers.
//!
//! An atom is an immediate term: its bits alone identify it, in every environment and for as long as the node runs. So
//! core can name windows by these integers without knowing Erlang, and names are looked up by comparing integers. The
//! bits of another kind of term never equal those of an atom, so a look-up of them finds nothing.

use rustler::codegen_runtime::ErlNifTerm;
use rustler::{Atom, Env, Term};

/// Tags of Erlang's external term format.
const VERSION: u8 = 131;
const SMALL_ATOM_UTF8: u8 = 119;
const ATOM_UTF8: u8 = 118;

const _: () = assert!(size_of::<ErlNifTerm>() == size_of::<usize>());

/// The bits of a term.
#[inline]
pub(crate) fn of(term: Term) -> u64 {
    number(term.as_c_arg())
}

/// The bits of an atom.
#[inline]
pub(crate) fn of_atom(atom: Atom) -> u64 {
    number(atom.as_c_arg())
}

/// The atom with these bits.
#[allow(unsafe_code)]
#[allow(clippy::cast_possible_truncation)] // it came from a machine word
pub(crate) fn to_atom(env: Env<'_>, bits: u64) -> Term<'_> {
    // SAFETY: the bits are a window tag of core, and only `of_atom` makes such tags. The transmute is the inverse of the
    // one in `number`.
    unsafe { Term::new(env, std::mem::transmute::<usize, ErlNifTerm>(bits as usize)) }
}

/// The text of an atom, which is the same on every node.
pub(crate) fn text(atom: Term) -> Option<String> {
    atom.atom_to_string().ok().or_else(|| beyond_latin1(atom))
}

/// Before NIF version 2.17, such an atom can be read only from its external form.
#[cold]
fn beyond_latin1(atom: Term) -> Option<String> {
    let external = atom.to_binary();
    match external.as_slice() {
        [VERSION, SMALL_ATOM_UTF8, _, text @ ..] | [VERSION, ATOM_UTF8, _, _, text @ ..] => {
            String::from_utf8(text.to_vec()).ok()
        }
        _ => None,
    }
}

#[inline]
#[allow(unsafe_code)]
fn number(term: ErlNifTerm) -> u64 {
    // SAFETY: `ErlNifTerm` is a transparent wrapper of Erlang's `ERL_NIF_TERM`, an unsigned machine word, any value of
    // which is valid.
    unsafe { std::mem::transmute::<ErlNifTerm, usize>(term) as u64 }
}
