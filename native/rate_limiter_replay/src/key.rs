//! The bytes of an id: each part after its length, so that two ids never have the same bytes.

use std::hash::{DefaultHasher, Hasher};

/// Returns the parts of an id: `None` for a part that the line does not have.
pub(crate) fn parts(mut key: &[u8]) -> Vec<Option<&[u8]>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        if length == ABSENT {
            parts.push(None);
            key = rest;
        } else {
            let (part, rest) = rest.split_at((length as usize).min(rest.len()));
            parts.push(Some(part));
            key = rest;
        }
    }
    parts
}

/// The length that marks an absent part.
const ABSENT: u32 = u32::MAX;

/// The text of a part is kept up to this length. A hash of the whole replaces the rest, so the memory of a key is
/// bounded whatever a client sent.
const MAX_PART: usize = 256;

/// Appends a part.
pub(crate) fn push(key: &mut Vec<u8>, text: Option<&[u8]>) {
    let Some(text) = text else {
        key.extend_from_slice(&ABSENT.to_le_bytes());
        return;
    };
    if text.len() <= MAX_PART {
        push_bytes(key, text);
        return;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    let mut short = text[..MAX_PART].to_vec();
    short.extend_from_slice(format!("...#{:016x}", hasher.finish()).as_bytes());
    push_bytes(key, &short);
}

/// Appends at most `MAX_PART` bytes and a hash, whose length fits.
fn push_bytes(key: &mut Vec<u8>, text: &[u8]) {
    let length = u32::try_from(text.len()).unwrap_or(ABSENT - 1);
    key.extend_from_slice(&length.to_le_bytes());
    key.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_of_several_parts_never_collide(a: Vec<Option<Vec<u8>>>, b: Vec<Option<Vec<u8>>>) {
            let bytes = |of: &[Option<Vec<u8>>]| {
                let mut key = Vec::new();
                for part in of {
                    push(&mut key, part.as_deref());
                }
                key
            };
            prop_assert_eq!(bytes(&a) == bytes(&b), a == b);
            let key = bytes(&a);
            let back: Vec<_> = parts(&key).into_iter().map(|part| part.map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(back, a);
        }
    }
}
