//! The key of a state: 128 bits of an id, hashed under a secret seed.

use std::hash::{BuildHasher, RandomState};

use rapidhash::v3::{rapidhash_v3_seeded, RapidSecrets};

/// A secret under which ids are hashed, so that a client that chooses ids cannot aim them at one place of a table.
///
/// Two independent seeded hashes of 64 bits. A cryptographic hash takes three times as long, and its advantage matters
/// only to an attacker that sees hashes. So keys must not be shown, and are stored only beside the seed, where the seed has to be
/// protected anyway.
#[derive(Clone)]
pub struct Seed {
    material: [u64; 2],
    secrets: [RapidSecrets; 2],
}

/// The hash of an id. Equal ids under one seed have equal keys; different ids do with the probability of guessing 127
/// bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Never zero, which marks an empty slot.
    pub(crate) high: u64,
    pub(crate) low: u64,
}

impl Key {
    /// Returns the key of `other` within this key's id: another one for each pair.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the two halves of a product are what is wanted
    pub fn and(self, other: Self) -> Self {
        // Two odd constants without a pattern, so that the halves do not depend on each other.
        let mix = |here: u64, there: u64, odd: u64| {
            let wide = u128::from(here ^ there.rotate_left(29)) * u128::from(odd);
            (wide >> 64) as u64 ^ wide as u64
        };
        Self {
            high: mix(self.high, other.low, 0x9E37_79B9_7F4A_7C15) | 1,
            low: mix(self.low, other.high, 0xD6E8_FEB8_6659_FD93),
        }
    }

    /// Returns another key for each number; for 0, this key.
    #[must_use]
    pub fn nth(self, number: u64) -> Self {
        if number == 0 {
            return self;
        }
        self.and_number(number)
    }

    /// Returns another key for each number.
    pub(crate) fn and_number(self, number: u64) -> Self {
        self.and(Self {
            high: number,
            low: !number,
        })
    }

    /// Returns it as bytes. They must not be shown, see [`Seed`].
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        bytes([self.high, self.low])
    }

    /// Returns the key that [`to_bytes`](Self::to_bytes) wrote; `None` if no key has these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let [high, low] = words(bytes);
        (high & 1 == 1).then_some(Self { high, low })
    }

    /// Returns it as two integers, the first of which is never 0. They must not be shown, see [`Seed`].
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// Returns some of its bits, to distribute keys by.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // some of the bits are what is wanted
    pub const fn spread(self) -> usize {
        (self.low >> 32) as usize
    }
}

impl Seed {
    /// Returns a new secret from the randomness of the operating system.
    #[must_use]
    pub fn random() -> Self {
        let state = RandomState::new();
        Self::new([state.hash_one(0_u8), state.hash_one(1_u8)])
    }

    /// Returns a known seed, for a run that can be repeated.
    #[must_use]
    pub const fn fixed(seed: u64) -> Self {
        Self::new([seed, !seed])
    }

    /// Returns the secret, for a store that is as well protected as this memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 16] {
        bytes(self.material)
    }

    /// Returns the seed that [`to_bytes`](Self::to_bytes) wrote.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::new(words(bytes))
    }

    /// Returns a seed for another kind of ids: equal ids of two kinds have unrelated keys.
    #[must_use]
    pub fn for_kind(&self, kind: u8) -> Self {
        // The bits of the golden ratio, so that kinds differ everywhere.
        let tweak = u64::from(kind).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self::new(self.material.map(|word| word ^ tweak))
    }

    /// Returns the key of an id.
    #[inline]
    #[must_use]
    pub fn key(&self, id: &[u8]) -> Key {
        Key {
            high: rapidhash_v3_seeded(id, &self.secrets[0]) | 1,
            low: rapidhash_v3_seeded(id, &self.secrets[1]),
        }
    }

    const fn new(material: [u64; 2]) -> Self {
        Self {
            material,
            secrets: [
                RapidSecrets::seed(material[0]),
                RapidSecrets::seed(material[1]),
            ],
        }
    }
}

fn bytes(words: [u64; 2]) -> [u8; 16] {
    bytemuck::cast(words.map(u64::to_le_bytes))
}

fn words(bytes: [u8; 16]) -> [u64; 2] {
    bytemuck::cast::<_, [[u8; 8]; 2]>(bytes).map(u64::from_le_bytes)
}

impl std::fmt::Debug for Seed {
    /// Hides the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_seeds_tell_equal_ids_apart() {
        let seed = Seed::fixed(7);
        let keys = [
            seed.key(b"1"),
            seed.for_kind(1).key(b"1"),
            seed.for_kind(2).key(b"1"),
            Seed::fixed(8).key(b"1"),
            Seed::random().key(b"1"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key));
        }
        assert_eq!(seed.key(b"1"), seed.clone().key(b"1"));
    }

    #[test]
    fn a_seed_and_its_keys_survive_as_bytes() {
        let seed = Seed::random();
        let again = Seed::from_bytes(seed.to_bytes());
        let key = seed.key(b"1");
        assert_eq!(again.key(b"1"), key);
        assert_eq!(again.for_kind(3).key(b"1"), seed.for_kind(3).key(b"1"));
        assert_eq!(Key::from_bytes(key.to_bytes()), Some(key));
        assert_eq!(Key::from_bytes([0; 16]), None);
    }

    #[test]
    fn debug_output_tells_no_secret() {
        assert_eq!(format!("{:?}", Seed::fixed(7)), "Seed(..)");
    }
}
