//! Integers and strings as bytes.

use crate::error::Error;

/// What is left of a section. Every read checks that it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

const SHORT: Error = Error::Damaged("a section ends too early");

pub(crate) fn put_number(into: &mut Vec<u8>, mut number: u64) {
    while number > 0x7F {
        #[allow(clippy::cast_possible_truncation)] // the lowest seven bits
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)] // seven bits are left
    into.push(number as u8);
}

pub(crate) fn put_text(into: &mut Vec<u8>, text: &[u8]) {
    put_number(into, text.len() as u64);
    into.extend(text);
}

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Error::Damaged("a number does not fit 64 bits"))
    }

    /// Returns how many elements follow, of at least one byte each: so a false number cannot ask for more memory than the
    /// section has.
    pub(crate) fn count(&mut self) -> Result<usize, Error> {
        let count = self.number()?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= self.0.len())
            .ok_or(SHORT)
    }

    pub(crate) fn text(&mut self) -> Result<&'a [u8], Error> {
        let length = self.count()?;
        self.take(length)
    }

    pub(crate) fn string(&mut self) -> Result<String, Error> {
        let text = self.text()?.to_vec();
        String::from_utf8(text).map_err(|_| Error::Damaged("a name is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_survives(number: u64, behind: Vec<u8>) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            bytes.extend(&behind);
            let mut read = Bytes(&bytes);
            prop_assert_eq!(read.number().expect("a number"), number);
            prop_assert_eq!(read.0, &behind);
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let mut bytes = vec![0xFF; 9];
        bytes.push(1);
        assert_eq!(Bytes(&bytes).number().expect("the largest"), u64::MAX);
        bytes[9] = 2;
        assert!(Bytes(&bytes).number().is_err());
        assert!(Bytes(&[0x80; 20]).number().is_err());
    }
}
