//! A line as `serde_json` reads it, and the values in it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A line that `serde_json` can read.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(super) text: Cow<'a, str>,
    /// The line is not UTF-8, so `text` has each of its bytes as the character of that number: `é` is two characters.
    pub(super) widened: bool,
}

/// A field's value as it stands in the line, except `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(super) raw: &'a str,
    widened: bool,
}

impl<'a> Source<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        match std::str::from_utf8(line) {
            Ok(text) => Self {
                text: Cow::Borrowed(text),
                widened: false,
            },
            Err(_) => Self {
                text: line.iter().copied().map(char::from).collect(),
                widened: true,
            },
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn new(raw: &'a RawValue, widened: bool) -> Self {
        let raw = raw.get();
        Self { raw, widened }
    }

    pub(crate) fn is_null(self) -> bool {
        self.raw == "null"
    }

    /// Whether a log writes this where it has no value.
    pub(crate) fn is_nothing(self) -> bool {
        matches!(self.raw, "null" | "\"\"" | "\"-\"")
    }

    pub(crate) fn is_string(self) -> bool {
        self.raw.starts_with('"')
    }

    /// The content of a string, or the digits of a number, `true` or `false`; `None` for an array or an object.
    pub(crate) fn text(self) -> Option<Cow<'a, [u8]>> {
        let quoted = match self.raw.as_bytes() {
            [b'{' | b'[', ..] => return None,
            [b'"', inside @ .., b'"'] if !self.widened && !inside.contains(&b'\\') => {
                return Some(Cow::Borrowed(inside));
            }
            [b'"', ..] => true,
            _ => false,
        };
        let bytes = if self.widened {
            // Each character is one byte of the line.
            self.raw.chars().map(|char| char as u8).collect()
        } else {
            Cow::Borrowed(self.raw.as_bytes())
        };
        Some(match &*bytes {
            _ if !quoted => bytes,
            [_, inside @ .., _] if !inside.contains(&b'\\') => inside.to_vec().into(),
            escaped => unescape(escaped)?.into(),
        })
    }
}

/// The content of a JSON string.
#[derive(Deserialize)]
struct Content<'a>(#[serde(borrow)] Cow<'a, [u8]>);

/// The content of a JSON string with its quotes. Half of a surrogate pair becomes the replacement character.
fn unescape(quoted: &[u8]) -> Option<Vec<u8>> {
    let Content(content) = serde_json::from_slice(quoted).ok()?;
    let mut content = content.into_owned();
    // In bytes, serde_json encodes a lone surrogate as any other code point: 0xED, 0xA0 to 0xBF, one more.
    for at in 2..content.len() {
        if content[at - 2] == 0xED && content[at - 1] >= 0xA0 {
            content[at - 2..=at].copy_from_slice("\u{FFFD}".as_bytes());
        }
    }
    Some(content)
}
