//! Reads the parts of a value, which may end anywhere.

use rate_limiter_core::Nanos;

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(crate) fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes(8)?.try_into().ok()?))
    }

    pub(crate) fn nanos(&mut self) -> Option<Nanos> {
        self.number().map(Nanos)
    }

    /// Reads numbers, of which there are at most as many as the value has room for.
    pub(crate) fn numbers(&mut self) -> Option<Vec<u64>> {
        let count = u32::from_be_bytes(self.bytes(4)?.try_into().ok()?);
        let bytes = self.bytes(usize::try_from(count).ok()?.checked_mul(8)?)?;
        let numbers = bytes.chunks_exact(8);
        numbers
            .map(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)))
            .collect()
    }

    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.short()?;
        (0..count).map(|_| item(self)).collect()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}
