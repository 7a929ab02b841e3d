//! The ids of a log: each key once, under a small number.

use std::hash::{BuildHasher, RandomState};

/// Keys by number and numbers by key. All keys lie in one piece of memory; a key takes its bytes and about 25 more.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// All keys, one after the other.
    bytes: Vec<u8>,
    /// The end of each key.
    ends: Vec<usize>,
    /// The upper half of the hash of each key, so that growth needs no new hash, and few bytes are compared in vain.
    hashes: Vec<u32>,
    /// Open addressing: 0, or a number and one. Its length is a power of two.
    slots: Vec<u32>,
    /// Seeded: clients choose the ids of a log, and must not be able to aim them at one slot.
    seed: RandomState,
}

impl Ids {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the number of a key, a new one for a new key. `None` after four billion keys.
    pub(crate) fn number(&mut self, key: &[u8]) -> Option<u32> {
        self.number_of_most(key, usize::MAX)
    }

    /// As [`number`](Self::number), with a new number only while there are fewer than `most`.
    pub(crate) fn number_of_most(&mut self, key: &[u8], most: usize) -> Option<u32> {
        if self.ends.len() * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        // The upper half of 64 bits fits into 32.
        let hash = (self.seed.hash_one(key) >> 32) as u32;
        let mut at = self.start(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let number = slot - 1;
            if self.hashes[number as usize] == hash && self.key(number) == key {
                return Some(number);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        if self.ends.len() >= most {
            return None;
        }
        let number = u32::try_from(self.ends.len()).ok()?;
        self.slots[at] = number.checked_add(1)?;
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.hashes.push(hash);
        Some(number)
    }

    /// Returns the key of a number that was returned.
    pub(crate) fn key(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }

    fn start(&self, hash: u32) -> usize {
        // Beyond 2^32 slots only the first ones are starts; longer probes remain correct.
        hash as usize & (self.slots.len() - 1)
    }

    fn grow(&mut self) {
        let length = (self.slots.len() * 2).max(64);
        self.slots = vec![0; length];
        for number in 0..self.hashes.len() {
            let mut at = self.start(self.hashes[number]);
            while self.slots[at] != 0 {
                at = (at + 1) & (length - 1);
            }
            // Every number fits a u32, and is below the largest.
            self.slots[at] = u32::try_from(number).map_or(0, |number| number + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_number() {
        let mut ids = Ids::default();
        for round in 0..2 {
            for number in 0..10_000_u32 {
                let key = number.to_string();
                assert_eq!(ids.number(key.as_bytes()), Some(number), "round {round}");
            }
        }
        assert_eq!(ids.len(), 10_000);
        assert_eq!(ids.key(0), b"0");
        assert_eq!(ids.key(9_999), b"9999");
    }

    #[test]
    fn the_empty_key_has_a_number() {
        let mut ids = Ids::default();
        assert_eq!(ids.number(b"a"), Some(0));
        assert_eq!(ids.number(b""), Some(1));
        assert_eq!(ids.number(b""), Some(1));
        assert_eq!(ids.key(1), b"");
    }
}
