//! What the inside of a JSON string means.

/// Appends the text that the inside of a JSON string means. Damaged escapes do not get here.
pub(crate) fn unescape(mut text: &[u8], into: &mut Vec<u8>) {
    while let Some(at) = text.iter().position(|&b| b == b'\\') {
        into.extend_from_slice(&text[..at]);
        let Some(&kind) = text.get(at + 1) else { break };
        text = &text[at + 2..];
        let plain = match kind {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (char, rest) = unicode(text);
                into.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                text = rest;
                continue;
            }
            same => same,
        };
        into.push(plain);
    }
    into.extend_from_slice(text);
}

/// The character after `\u`, which may need a second escape; half a pair is the replacement character.
fn unicode(text: &[u8]) -> (char, &[u8]) {
    let Some((first, rest)) = hex4(text) else {
        return (char::REPLACEMENT_CHARACTER, &[]);
    };
    if let 0xD800..0xDC00 = first {
        if let Some((second @ 0xDC00..0xE000, rest)) = rest.strip_prefix(b"\\u").and_then(hex4) {
            let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            return (char::from_u32(code).unwrap_or_default(), rest);
        }
    }
    let char = char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
    (char, rest)
}

pub(super) fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let mut code = 0;
    for &digit in digits {
        code = code * 16 + char::from(digit).to_digit(16)?;
    }
    Some((code, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_mean_characters() {
        let mut text = Vec::new();
        unescape(
            br#"\"\\\/\b\f\n\r\t \u00e9 \ud83d\ude00 \ud83d! \udc00"#,
            &mut text,
        );
        let expected = "\"\\/\u{8}\u{c}\n\r\t é 😀 \u{fffd}! \u{fffd}";
        assert_eq!(String::from_utf8(text).as_deref(), Ok(expected));
    }
}
