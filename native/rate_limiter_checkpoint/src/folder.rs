//! The files of a checkpoint: the newest ones, by their numbers.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A folder that belongs to one instance.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

const KEPT: &str = "checkpoint";
const REFUSED: &str = "refused";
const TEMPORARY: &str = "tmp";

/// What a runtime that died while it wrote has left is removed after this time. Until then it may be another runtime's,
/// which is being replaced by this one.
const ABANDONED: Duration = Duration::from_hours(1);

impl Folder {
    /// Returns the folder at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the files with their numbers, the newest first. A folder that does not exist has none.
    pub fn files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = self.numbered(&[KEPT])?;
        files.sort_unstable_by(|one, other| other.cmp(one));
        Ok(files)
    }

    /// Creates a file, lets `write` write it, and makes it the newest one: at each moment the folder has only whole files.
    pub fn put<T, E: From<io::Error>>(
        &self,
        write: impl FnOnce(File) -> Result<(File, T), E>,
    ) -> Result<(PathBuf, T), E> {
        fs::create_dir_all(&self.0)?;
        self.remove_abandoned()?;
        let number = self.next_number()?;
        let temporary = self.path(number, &format!("{TEMPORARY}{}", std::process::id()));
        let written = create(&temporary).map_err(E::from).and_then(write);
        let kept = written.and_then(|(file, result)| {
            file.sync_all()?;
            let path = self.path(number, KEPT);
            fs::rename(&temporary, &path)?;
            self.sync()?;
            Ok((path, result))
        });
        if kept.is_err() {
            // The error that is reported is the one above.
            let _removed = fs::remove_file(&temporary);
        }
        kept
    }

    /// Removes all files but the `keep` newest ones. Files that were refused stay.
    pub fn keep(&self, keep: usize) -> io::Result<()> {
        for (_, path) in self.files()?.into_iter().skip(keep) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Renames a file, so that it is neither read again nor removed. Returns its new path.
    pub fn refuse(&self, path: &Path) -> io::Result<PathBuf> {
        let to = path.with_extension(REFUSED);
        fs::rename(path, &to)?;
        Ok(to)
    }

    fn next_number(&self) -> io::Result<u64> {
        let numbers = self.numbered(&[KEPT, REFUSED])?.into_iter();
        let last = numbers.map(|(number, _)| number).max();
        Ok(last.map_or(1, |last| last.saturating_add(1)))
    }

    fn path(&self, number: u64, extension: &str) -> PathBuf {
        self.0.join(format!("{number:020}.{extension}"))
    }

    fn numbered(&self, extensions: &[&str]) -> io::Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str());
            let extension = path.extension().and_then(|extension| extension.to_str());
            if let (Some(Ok(number)), Some(extension)) = (number.map(str::parse), extension) {
                if extensions.contains(&extension) {
                    files.push((number, path));
                }
            }
        }
        Ok(files)
    }

    fn remove_abandoned(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let is_old = |changed| {
                let age = SystemTime::now().duration_since(changed);
                age.is_ok_and(|age| age > ABANDONED)
            };
            if extension.is_some_and(|extension| extension.starts_with(TEMPORARY))
                && entry.metadata()?.modified().is_ok_and(is_old)
            {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Writes the names of the files to the disk, as `sync_all` does for a file's content.
    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    #[cfg(not(unix))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Only the user of the runtime may read it: it has the secret under which ids are hashed.
fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
