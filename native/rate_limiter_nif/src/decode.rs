//! Terms from callers. A term of the wrong kind raises `ArgumentError`.

use rate_limiter_core::{Select, Tag};
use rustler::{Atom, Decoder, Error, NifResult, Term};

use crate::atom_bits;

/// A proper list. Rustler's own decoding panics at the tail of an improper one.
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// A value of a derived type. Rustler's derived decoders raise errors of their own.
pub(crate) struct Arg<T>(pub(crate) T);

/// The windows of a call: one name, or a list of names. The empty list means every window.
pub(crate) enum Windows {
    One([Tag; 1]),
    Several(Vec<Tag>),
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
        if term.is_atom() {
            return Ok(Self::One([atom_bits::of(term)]));
        }
        let List(names) = term.decode::<List<Atom>>()?;
        let tags = names.into_iter().map(atom_bits::of_atom);
        Ok(Self::Several(tags.collect()))
    }
}

impl Windows {
    pub(crate) fn select(&self) -> Select<'_> {
        match self {
            Self::One(tag) => Select::Tags(tag),
            Self::Several(tags) if tags.is_empty() => Select::All,
            Self::Several(tags) => Select::Tags(tags),
        }
    }
}
