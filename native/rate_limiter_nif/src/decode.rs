//! Terms from callers. A term of the wrong kind raises `ArgumentError`.

use rate_limiter_core::{Select, Tag};
use rustler::{Atom, Decoder, Error, NifResult, Term};

use crate::{atom_bits, atoms};

/// A proper list. Rustler's own decoding panics at the tail of an improper one.
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// A value of a derived type. Rustler's derived decoders raise errors of their own.
pub(crate) struct Arg<T>(pub(crate) T);

/// The windows of a call: `:all`, or a non-empty list of names.
pub(crate) enum Windows {
    All,
    Named(Vec<Tag>),
}

impl<'a, T: Decoder<'a>> Decoder<'a> for List<T> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let length = term.list_length().map_err(|_| Error::BadArg)?;
        let mut items = Vec::with_capacity(length);
        for item in term.into_list_iterator()? {
            items.push(item.decode()?);
        }
        Ok(Self(items))
    }
}

impl<'a, T: Decoder<'a>> Decoder<'a> for Arg<T> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        term.decode().map(Self).map_err(|_| Error::BadArg)
    }
}

impl<'a> Decoder<'a> for Windows {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if atoms::all() == term {
            return Ok(Self::All);
        }
        let List(names) = term.decode::<List<Atom>>()?;
        if names.is_empty() {
            return Err(Error::BadArg);
        }
        Ok(Self::Named(
            names.into_iter().map(atom_bits::of_atom).collect(),
        ))
    }
}

impl Windows {
    pub(crate) fn select(&self) -> Select<'_> {
        match self {
            Self::All => Select::All,
            Self::Named(tags) => Select::Tags(tags),
        }
    }
}
