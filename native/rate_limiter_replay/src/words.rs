//! Words, quoted strings and numbers in a line.

/// Returns what is before the first space, and what is behind it.
pub(crate) fn split_at_space(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == b' ')?;
    Some((&text[..at], &text[at + 1..]))
}

/// Returns the text up to the first space, and the rest from there.
pub(crate) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| b == b' ');
    text.split_at(end.unwrap_or(text.len()))
}

/// Returns the content of a string in quotes, in which a backslash escapes the next byte, and what follows it.
pub(crate) fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', &text[at..])?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        at += 2;
        if at > text.len() {
            return None;
        }
    }
}

/// As `quoted`, after a space. Without a closing quote (servers cut long lines), returns all that is left.
pub(crate) fn loosely_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b" ")?;
    match quoted(text) {
        Some(parts) => Some(parts),
        None => Some((text.strip_prefix(b"\"")?, &[])),
    }
}

/// Whether the text is digits.
pub(crate) fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}
