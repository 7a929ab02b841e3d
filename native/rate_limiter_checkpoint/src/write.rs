//! Writes a checkpoint.

use std::io::{self, Write};

use rate_limiter_core::{Key, Known, Nanos};

use crate::bytes::put_number;
use crate::record::{put_row, Described, Head};
use crate::section::{Kind, Sections};

/// A section of rows is written when it has so many bytes.
const SECTION_BYTES: usize = 256 * 1024;

/// Writes the parts of a checkpoint, one after the other.
pub struct Writer<W> {
    sections: Sections<W>,
    /// The section of rows that is being written, and how many it has.
    rows: Vec<u8>,
    in_section: u64,
    base: Nanos,
    count: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a checkpoint.
    pub fn new(into: W, head: &Head) -> io::Result<Self> {
        let mut sections = Sections::new(into)?;
        sections.put(Kind::Head, &head.to_bytes())?;
        Ok(Self {
            sections,
            rows: Vec::with_capacity(SECTION_BYTES + 1024),
            in_section: 0,
            base: head.written,
            count: 0,
        })
    }

    /// Begins a limiter, to which the following rows belong.
    pub fn limiter(&mut self, limiter: &Described) -> io::Result<()> {
        self.flush()?;
        self.sections.put(Kind::Limiter, &limiter.to_bytes())
    }

    /// Writes what a key has used. The tags of its windows are their places in [`Described::windows`].
    pub fn row(&mut self, key: Key, known: &Known) -> io::Result<()> {
        put_row(&mut self.rows, key, known, self.base);
        self.in_section += 1;
        if self.rows.len() >= SECTION_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the checkpoint. Returns what it was written into, the number of rows, and that of bytes.
    pub fn finish(mut self) -> io::Result<(W, u64, u64)> {
        self.flush()?;
        let mut end = Vec::new();
        put_number(&mut end, self.count);
        self.sections.put(Kind::End, &end)?;
        let (into, bytes) = self.sections.finish();
        Ok((into, self.count, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.in_section > 0 {
            let mut section = Vec::with_capacity(self.rows.len() + 10);
            put_number(&mut section, self.in_section);
            section.append(&mut self.rows);
            self.sections.put(Kind::Rows, &section)?;
            self.count += self.in_section;
            self.in_section = 0;
        }
        Ok(())
    }
}
