//! In which slot of a cluster a key lies.

/// How many there are.
pub(crate) const SLOTS: usize = 16_384;

/// The slot of a key: of what is between its first braces, if there is anything, else of all of it.
pub(crate) fn of(key: &[u8]) -> u16 {
    let tagged = tag(key).unwrap_or(key);
    tagged.iter().fold(0, |crc, byte| step(crc, *byte)) % 16_384
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|byte| *byte == b'}')?;
    (close > 0).then(|| &rest[..close])
}

/// CRC-16/XMODEM, a byte at a time.
fn step(crc: u16, byte: u8) -> u16 {
    (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // it is less than 256
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_server() {
        // As CLUSTER KEYSLOT says.
        assert_eq!(of(b"123456789"), 0x31c3);
        assert_eq!(of(b"foo"), 12_182);
        assert_eq!(of(b"hello"), 866);
        assert_eq!(of(b""), 0);
    }

    #[test]
    fn only_what_is_in_the_first_braces_counts() {
        assert_eq!(of(b"{foo}.x"), of(b"foo"));
        assert_eq!(of(b"a{foo}{bar}"), of(b"foo"));
        assert_eq!(of(b"a{{foo}}"), of(b"{foo"));
        assert_ne!(of(b"a{}b"), of(b""));
        assert_ne!(of(b"a{foo"), of(b"foo"));
    }
}
