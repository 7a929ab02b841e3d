//! Reads the newest checkpoint of a folder into limiters.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use rate_limiter_core::{Import, Known, Limit, Nanos, Snapshot, Tag};

use crate::error::Error;
use crate::folder::Folder;
use crate::member::Member;
use crate::read::{Part, Reader};
use crate::record::{Described, Head};

/// What a start found in a folder.
#[derive(Debug)]
pub struct Outcome {
    /// The checkpoint that was read, if there was a valid one.
    pub restored: Option<Restored>,
    /// The newer files, which were not.
    pub refused: Vec<Refused>,
}

/// A checkpoint that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The file.
    pub file: PathBuf,
    /// When it was written, since 1970 in UTC.
    pub written: Nanos,
    /// How many keys continue from it.
    pub keys: u64,
    /// How many found no room.
    pub left_out: u64,
    /// The limiters, and the windows of others, that are in the file and not in the configuration, or of another algorithm.
    pub dropped: Vec<String>,
}

/// A file that was not read.
#[derive(Debug)]
pub struct Refused {
    /// Where it is now.
    pub file: PathBuf,
    /// Why.
    pub reason: Error,
}

impl Folder {
    /// Continues from the newest valid checkpoint, at the time `now` in UTC. `accepts` may refuse one by its head. A file
    /// that is refused stays under another name.
    pub fn restore(
        &self,
        now: Nanos,
        members: &[Member],
        mut accepts: impl FnMut(&Head) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let mut refused = Vec::new();
        for (_, file) in self.files()? {
            let read = check(&file)
                .and_then(|head| accepts(&head).map(|()| head))
                .and_then(|head| import(&file, &head, now, members));
            match read {
                Ok(restored) => {
                    let restored = Some(restored);
                    return Ok(Outcome { restored, refused });
                }
                // The file may be read by the next start.
                Err(reason @ (Error::Io(_) | Error::Closed)) => return Err(reason),
                Err(reason) => refused.push(Refused {
                    file: self.refuse(&file)?,
                    reason,
                }),
            }
        }
        let restored = None;
        Ok(Outcome { restored, refused })
    }
}

/// Reads the whole file, so that nothing is imported of a damaged one.
fn check(file: &Path) -> Result<Head, Error> {
    let mut reader = open(file)?;
    while let Some(part) = reader.part()? {
        if let Part::Rows(rows) = part {
            for row in rows {
                row?;
            }
        }
    }
    Ok(reader.head().clone())
}

fn import(file: &Path, head: &Head, now: Nanos, members: &[Member]) -> Result<Restored, Error> {
    let mut restored = Restored {
        file: file.to_path_buf(),
        written: head.written,
        keys: 0,
        left_out: 0,
        dropped: Vec::new(),
    };
    // A clock that was set back since tells nothing of the time that has passed: none is counted.
    let behind = head.written.saturating_sub(now);
    let mut reader = open(file)?;
    let mut into = None;
    while let Some(part) = reader.part()? {
        match part {
            Part::Limiter(limiter) => into = Into::find(&limiter, members, &mut restored.dropped),
            Part::Rows(rows) => {
                let Some(into) = &into else { continue };
                for row in rows {
                    let (key, mut known) = row?;
                    if behind > Nanos(0) {
                        known = known.earlier(behind);
                    }
                    into.convert(&mut known);
                    if known.windows.is_empty() {
                        continue;
                    }
                    let Member { limiter, epoch, .. } = into.member;
                    let imported = limiter.import(*epoch, key, &known, Import::AtLeast);
                    if imported.map_err(|_| Error::Closed)? {
                        restored.keys += 1;
                    } else {
                        restored.left_out += 1;
                    }
                }
            }
        }
    }
    Ok(restored)
}

fn open(file: &Path) -> Result<Reader<BufReader<File>>, Error> {
    Reader::new(BufReader::new(File::open(file)?))
}

/// A limiter of a file, and the one of the configuration that continues from it.
struct Into<'a> {
    member: &'a Member<'a>,
    /// For each window of the file: its limit there, its tag, and its limit here.
    windows: Vec<Option<(Limit, Tag, &'a Limit)>>,
}

impl<'a> Into<'a> {
    fn find(
        there: &Described,
        members: &'a [Member<'a>],
        dropped: &mut Vec<String>,
    ) -> Option<Self> {
        let Some(member) = members.iter().find(|member| member.name == there.name) else {
            dropped.push(there.name.clone());
            return None;
        };
        let windows = there.windows.iter().map(|(name, limit)| {
            let found = member.windows.iter().find(|(known, ..)| known == name);
            let same = found.filter(|(_, _, here)| same_algorithm(limit, here));
            if same.is_none() {
                dropped.push(format!("{}.{name}", there.name));
            }
            same.map(|(_, tag, here)| (limit.clone(), *tag, here))
        });
        let windows = windows.collect();
        Some(Self { member, windows })
    }

    /// Converts to the windows of the configuration, and drops what none of them continues.
    fn convert(&self, known: &mut Known) {
        known.windows.retain_mut(|(tag, state)| {
            let place = usize::try_from(*tag).ok();
            let window = place.and_then(|place| self.windows.get(place)?.as_ref());
            if let Some((there, here, limit)) = window {
                *tag = *here;
                let written = std::mem::replace(state, Snapshot::Bucket { debt: Nanos(0) });
                *state = written.under(there, limit);
            }
            window.is_some()
        });
    }
}

fn same_algorithm(one: &Limit, other: &Limit) -> bool {
    std::mem::discriminant(&one.algorithm()) == std::mem::discriminant(&other.algorithm())
}
