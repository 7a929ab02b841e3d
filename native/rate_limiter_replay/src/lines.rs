//! Bytes as they come, cut into lines.

/// A longer line is not kept: no log line is, but any file can be given.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// What is left of a source's bytes behind the last end of line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    /// The line begun is too long: only its beginning is kept, and the rest skipped.
    too_long: bool,
    any: bool,
}

/// One line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    /// The beginning of one that is longer than [`MAX_LINE`].
    TooLong(&'a [u8]),
}

impl Lines {
    /// Hands every line that ends within `bytes` to `each`.
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

    /// Hands over the last line, if it has no end of its own.
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
    fn ends_of_lines_of_both_kinds_and_none() {
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
    fn a_line_too_long_is_dropped_alone() {
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
        fn chunks_do_not_matter(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200), size in 1usize..20) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assume!(!bytes.starts_with(b"\xEF"));
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }
    }
}
