//! Lists from callers.

use rustler::{Decoder, Error, NifResult, Term};

/// Decodes a proper list. Rustler's own decoding panics at the tail of an improper one.
pub(crate) fn decode<'a, T: Decoder<'a>>(term: Term<'a>) -> NifResult<Vec<T>> {
    let length = term.list_length().map_err(|_| Error::BadArg)?;
    let mut items = Vec::with_capacity(length);
    for item in term.into_list_iterator()? {
        items.push(item.decode()?);
    }
    Ok(items)
}
