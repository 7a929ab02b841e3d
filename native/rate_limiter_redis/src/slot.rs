//! The hash slot of a key in a cluster.

/// The number of slots.
pub(crate) const SLOTS: usize = 16_384;

/// Returns the slot of a key. Only the hash tag counts, the part between the first braces, unless it is missing or
/// empty.
pub(crate) fn of(key: &[u8]) -> u16 {
    let hashed = hash_tag(key).unwrap_or(key);
    hashed.iter().fold(0, |crc, byte| step(crc, *byte)) % 16_384
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|byte| *byte == b'}')?;
    (close > 0).then(|| &rest[..close])
}

/// One byte of CRC-16/XMODEM.
fn step(crc: u16, byte: u8) -> u16 {
    (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // less than 256
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
    fn a_slot_is_that_of_the_server() {
        // Replies of CLUSTER KEYSLOT.
        assert_eq!(of(b"123456789"), 0x31c3);
        assert_eq!(of(b"foo"), 12_182);
        assert_eq!(of(b"hello"), 866);
        assert_eq!(of(b""), 0);
    }

    #[test]
    fn only_the_first_hash_tag_counts() {
        assert_eq!(of(b"{foo}.x"), of(b"foo"));
        assert_eq!(of(b"a{foo}{bar}"), of(b"foo"));
        assert_eq!(of(b"a{{foo}}"), of(b"{foo"));
        assert_ne!(of(b"a{}b"), of(b""));
        assert_ne!(of(b"a{foo"), of(b"foo"));
    }
}
