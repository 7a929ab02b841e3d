//! Terms from callers. A term of the wrong kind raises `ArgumentError`.

use rate_limiter_core::{Select, Tag};
use rustler::{Decoder, Error, NifResult, Term};
use smallvec::SmallVec;

use crate::atom_bits;

/// A proper list. Rustler's own decoding panics at the tail of an improper one.
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// A value of a derived type. Rustler's derived decoders raise errors of their own.
pub(crate) struct Arg<T>(pub(crate) T);

/// The windows of a call: one name, or a list of names. The empty list means every window.
pub(crate) enum Windows {
    One([Tag; 1]),
    Several(SmallVec<[Tag; 4]>),
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
        term.list_length().map_err(|_| Error::BadArg)?;
        let tag = |name: Term| name.decode().map(atom_bits::of_atom);
        let tags: NifResult<_> = term.into_list_iterator()?.map(tag).collect();
        tags.map(Self::Several)
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
