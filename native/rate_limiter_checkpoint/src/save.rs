//! Writes limiters into a folder.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use rate_limiter_core::{Select, Tag};

use crate::error::Error;
use crate::folder::Folder;
use crate::member::Member;
use crate::record::{Described, Head};
use crate::write::Writer;

/// A checkpoint that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The file.
    pub file: PathBuf,
    /// How many keys it has.
    pub keys: u64,
    /// Its length.
    pub bytes: u64,
}

impl Folder {
    /// Writes a checkpoint of `members`, and removes all but the `keep` newest ones.
    pub fn save(&self, keep: usize, head: &Head, members: &[Member]) -> Result<Saved, Error> {
        let (file, (keys, bytes)) = self.put(|file| {
            let mut writer = Writer::new(BufWriter::new(file), head)?;
            for member in members {
                write(&mut writer, member)?;
            }
            let (buffer, keys, bytes) = writer.finish()?;
            let file = buffer
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error)?;
            Ok::<(File, _), Error>((file, (keys, bytes)))
        })?;
        self.keep(keep)?;
        Ok(Saved { file, keys, bytes })
    }
}

fn write(writer: &mut Writer<impl Write>, member: &Member) -> Result<(), Error> {
    let windows = member.windows.iter();
    writer.limiter(&Described {
        name: member.name.clone(),
        windows: windows
            .map(|(name, _, limit)| (name.clone(), limit.clone()))
            .collect(),
    })?;
    let Member { limiter, epoch, .. } = *member;
    let place = |tag: Tag| {
        member
            .windows
            .iter()
            .position(|(_, known, _)| *known == tag)
    };
    let mut part = 0;
    while let Some(keys) = limiter.keys(epoch, part).map_err(|_| Error::Closed)? {
        part += 1;
        for key in keys {
            let known = limiter.snapshot(epoch, key, Select::All);
            let Some(mut known) = known.map_err(|_| Error::Closed)? else {
                continue;
            };
            known.windows.retain_mut(|(tag, _)| match place(*tag) {
                Some(place) => {
                    *tag = place as Tag;
                    true
                }
                None => false,
            });
            if !known.windows.is_empty() {
                writer.row(key, &known)?;
            }
        }
    }
    Ok(())
}
