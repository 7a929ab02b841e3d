//! Splits bytes into lines.

/// Longer lines are dropped: a log has none, but any file can be replayed.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// The bytes of a log after its last end of line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    /// The present line is too long: its beginning is kept, and the rest skipped.
    too_long: bool,
    any: bool,
}

/// One line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    /// The beginning of a line that is longer than [`MAX_LINE`].
    TooLong(&'a [u8]),
}

impl Lines {
    /// Calls `each` with every line that ends within `bytes`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line)) {
        if !self.any && !bytes.is_empty() {
            self.any = true;
            bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.begun.is_empty() && line.len() <= MAX_LINE {
                each(Line::Whole(without_return(line)));
            } else {
                self.keep(line);
                self.end(&mut each);
            }
        }
        self.keep(bytes);
    }

    /// Calls `each` with the last line, if it has no end of line.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Line)) {
        if !self.begun.is_empty() {
            self.end(&mut each);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.begun.len();
        self.too_long |= bytes.len() > room;
        self.begun
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self, each: &mut impl FnMut(Line)) {
        if self.too_long {
            each(Line::TooLong(&self.begun));
        } else {
            each(Line::Whole(without_return(&self.begun)));
        }
        self.begun.clear();
        self.too_long = false;
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<Result<Vec<u8>, usize>> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        let mut keep = |line: Line| match line {
            Line::Whole(line) => all.push(Ok(line.to_vec())),
            Line::TooLong(line) => all.push(Err(line.len())),
        };
        for chunk in chunks {
            lines.feed(chunk, &mut keep);
        }
        lines.finish(&mut keep);
        all
    }

    #[test]
    fn both_kinds_of_line_ends_and_a_missing_one() {
        let expected: Vec<Result<Vec<u8>, usize>> = vec![
            Ok(b"a".to_vec()),
            Ok(b"b".to_vec()),
            Ok(vec![]),
            Ok(b"c".to_vec()),
        ];
        assert_eq!(split(&[b"a\r\nb\n\nc"]), expected);
        assert_eq!(split(&[b"a\r", b"\nb", b"\n\n", b"", b"c"]), expected);
        assert_eq!(split(&[b"\xEF\xBB\xBFa\n"]), [Ok(b"a".to_vec())]);
        assert_eq!(split(&[]), []);
    }

    #[test]
    fn only_the_line_that_is_too_long_is_dropped() {
        let long = vec![b'x'; MAX_LINE + 1];
        let fits = vec![b'y'; MAX_LINE];
        let expected = [
            Ok(b"a".to_vec()),
            Err(MAX_LINE),
            Ok(fits.clone()),
            Ok(b"b".to_vec()),
        ];
        let whole = [b"a\n", long.as_slice(), b"\n", &fits, b"\nb\n"].concat();
        assert_eq!(split(&[&whole]), expected);
        let pieces: Vec<&[u8]> = whole.chunks(100_000).collect();
        assert_eq!(split(&pieces), expected);
        assert_eq!(split(&[&long]), [Err(MAX_LINE)]);
    }

    proptest! {
        #[test]
        fn the_sizes_of_chunks_do_not_matter(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200), size in 1usize..20) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assume!(!bytes.starts_with(b"\xEF"));
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }
    }
}
