//! Reads a checkpoint.

use std::io::Read;

use rate_limiter_core::{Key, Known, Nanos};

use crate::bytes::Bytes;
use crate::error::Error;
use crate::record::{row, Described, Head};
use crate::section::{Kind, Sectioned};

/// Reads the parts of a checkpoint, one after the other. Whatever the bytes are, it neither panics nor takes more memory
/// than a section may have.
#[derive(Debug)]
pub struct Reader<R> {
    sections: Sectioned<R>,
    head: Head,
    /// The windows of the last limiter.
    windows: Option<usize>,
    count: u64,
}

/// A part of a checkpoint.
#[derive(Debug)]
pub enum Part {
    /// A limiter, to which the rows that follow belong.
    Limiter(Described),
    /// Keys, and what they have used.
    Rows(Rows),
}

/// Keys, and what they have used. The tags of windows are their places in [`Described::windows`]. Each is decoded when it is
/// asked for, since thousands at once would be thousands of allocations at once.
#[derive(Debug)]
pub struct Rows {
    content: Vec<u8>,
    at: usize,
    left: u64,
    base: Nanos,
    windows: usize,
}

impl<R: Read> Reader<R> {
    /// Reads the head of a checkpoint.
    pub fn new(from: R) -> Result<Self, Error> {
        let mut sections = Sectioned::new(from)?;
        let (kind, content) = sections.next()?;
        if kind != Kind::Head {
            return Err(Error::Damaged("it does not begin with a head"));
        }
        let head = Head::from_bytes(Bytes(&content))?;
        Ok(Self {
            sections,
            head,
            windows: None,
            count: 0,
        })
    }

    /// Returns what the checkpoint says of itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the next part; `None` at the end of a whole checkpoint.
    pub fn part(&mut self) -> Result<Option<Part>, Error> {
        let (kind, content) = self.sections.next()?;
        let bytes = Bytes(&content);
        match kind {
            Kind::Head => Err(Error::Damaged("it has two heads")),
            Kind::Limiter => {
                let limiter = Described::from_bytes(bytes)?;
                self.windows = Some(limiter.windows.len());
                Ok(Some(Part::Limiter(limiter)))
            }
            Kind::End => self.end(bytes).map(|()| None),
            Kind::Rows => self.rows(content).map(|rows| Some(Part::Rows(rows))),
        }
    }

    fn rows(&mut self, content: Vec<u8>) -> Result<Rows, Error> {
        let windows = self.windows.ok_or(Error::Damaged("rows of no limiter"))?;
        let mut bytes = Bytes(&content);
        let left = bytes.number()?;
        self.count = self.count.saturating_add(left);
        let at = content.len() - bytes.0.len();
        let base = self.head.written;
        Ok(Rows {
            content,
            at,
            left,
            base,
            windows,
        })
    }

    fn end(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        if bytes.number()? != self.count {
            return Err(Error::Damaged("rows are missing"));
        }
        self.sections.end()
    }
}

impl Iterator for Rows {
    type Item = Result<(Key, Known), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Bytes(&self.content[self.at..]);
        if self.left == 0 {
            let more = !bytes.is_empty();
            self.at = self.content.len();
            return more.then_some(Err(Error::Damaged("a section has too many rows")));
        }
        let read = row(&mut bytes, self.base, self.windows);
        self.at = self.content.len() - bytes.0.len();
        // After an error nothing of this section means anything.
        self.left = if read.is_ok() { self.left - 1 } else { 0 };
        if read.is_err() {
            self.at = self.content.len();
        }
        Some(read)
    }
}
