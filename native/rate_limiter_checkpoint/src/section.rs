//! Sections: compressed, and checked together with all sections before them.

use std::io::{self, Read, Write};

use rapidhash::v3::{rapidhash_v3_seeded, RapidSecrets};

use crate::error::Error;

/// The first bytes of a file.
pub const MAGIC: [u8; 8] = *b"RLcheck\n";

/// The version of the format. A change of it, or of [`Snapshot`](rate_limiter_core::Snapshot), needs another one.
pub(crate) const VERSION: u16 = 1;

/// The most bytes of a section. A writer begins another one long before, a reader refuses more.
const MAX_BYTES: u32 = 1 << 24;

/// Public, since a checksum protects from faults of a disk, not from a person who can write the file.
static SECRETS: RapidSecrets = RapidSecrets::seed_cpp(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Head = 1,
    Limiter = 2,
    Rows = 3,
    End = 4,
}

/// Writes sections.
pub(crate) struct Sections<W> {
    into: W,
    checksum: u64,
    bytes: u64,
}

impl<W: Write> Sections<W> {
    pub(crate) fn new(mut into: W) -> io::Result<Self> {
        into.write_all(&MAGIC)?;
        into.write_all(&VERSION.to_le_bytes())?;
        Ok(Self {
            into,
            checksum: 0,
            bytes: (MAGIC.len() + 2) as u64,
        })
    }

    pub(crate) fn put(&mut self, kind: Kind, content: &[u8]) -> io::Result<()> {
        let packed = lz4_flex::block::compress(content);
        let lengths = [content.len(), packed.len()].map(|length| u32::try_from(length).ok());
        let [Some(length), Some(packed_length)] = lengths else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        let mut head = [0; 9];
        head[0] = kind as u8;
        head[1..5].copy_from_slice(&length.to_le_bytes());
        head[5..].copy_from_slice(&packed_length.to_le_bytes());
        self.checksum = next_checksum(self.checksum, &head, &packed);
        for part in [&head[..], &self.checksum.to_le_bytes(), &packed] {
            self.into.write_all(part)?;
            self.bytes += part.len() as u64;
        }
        Ok(())
    }

    /// Returns what was written into, and how many bytes were written.
    pub(crate) fn finish(self) -> (W, u64) {
        (self.into, self.bytes)
    }
}

/// Reads sections.
#[derive(Debug)]
pub(crate) struct Sectioned<R> {
    from: R,
    checksum: u64,
}

impl<R: Read> Sectioned<R> {
    pub(crate) fn new(mut from: R) -> Result<Self, Error> {
        let mut start = [0; 10];
        let length = read_up_to(&mut from, &mut start)?;
        if length < start.len() || start[..8] != MAGIC {
            return Err(Error::Foreign);
        }
        let got = u16::from_le_bytes([start[8], start[9]]);
        if got != VERSION {
            let expected = VERSION;
            return Err(Error::Version { expected, got });
        }
        Ok(Self { from, checksum: 0 })
    }

    pub(crate) fn next(&mut self) -> Result<(Kind, Vec<u8>), Error> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, packed_length) = (length(1), length(5));
        if length > MAX_BYTES || packed_length > MAX_BYTES {
            return Err(Error::Damaged("a section is too long"));
        }
        let mut checksum = [0; 8];
        self.fill(&mut checksum)?;
        // Grows with what is there, so that a false length costs nothing.
        let mut packed = Vec::new();
        let read = (&mut self.from)
            .take(packed_length.into())
            .read_to_end(&mut packed)?;
        if read < packed_length as usize {
            return Err(CUT_OFF);
        }
        self.checksum = next_checksum(self.checksum, &head, &packed);
        if self.checksum != u64::from_le_bytes(checksum) {
            return Err(Error::Damaged("a checksum is wrong"));
        }
        let kind = match head[0] {
            1 => Kind::Head,
            2 => Kind::Limiter,
            3 => Kind::Rows,
            4 => Kind::End,
            _ => return Err(Error::Damaged("a section is of an unknown kind")),
        };
        let content = lz4_flex::block::decompress(&packed, length as usize)
            .ok()
            .filter(|content| content.len() == length as usize);
        content
            .map(|content| (kind, content))
            .ok_or(Error::Damaged("a section cannot be decompressed"))
    }

    /// Fails unless the file ends here.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        match read_up_to(&mut self.from, &mut [0])? {
            0 => Ok(()),
            _ => Err(Error::Damaged("something follows its end")),
        }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), Error> {
        match read_up_to(&mut self.from, into)? {
            length if length == into.len() => Ok(()),
            _ => Err(CUT_OFF),
        }
    }
}

const CUT_OFF: Error = Error::Damaged("it is cut off");

fn next_checksum(before: u64, head: &[u8], packed: &[u8]) -> u64 {
    let mut both = [0; 16];
    both[..8].copy_from_slice(&before.to_le_bytes());
    both[8..].copy_from_slice(&rapidhash_v3_seeded(packed, &SECRETS).to_le_bytes());
    rapidhash_v3_seeded(head, &SECRETS) ^ rapidhash_v3_seeded(&both, &SECRETS)
}

/// Fills `into` as far as there is something to read, and returns how far.
fn read_up_to(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < into.len() {
        match from.read(&mut into[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
