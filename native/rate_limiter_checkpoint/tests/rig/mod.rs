//! A limiter on a clock that the test moves, and a folder that ends with the test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use rate_limiter_checkpoint::{Error, Folder, Head, Member, Outcome, Saved};
use rate_limiter_core::{
    Clock, Epoch, Key, Limit, Limiter, ManualClock, Nanos, Options, Retry, Seed, Select, Tag,
};

/// A full minute, so that the aligned windows of all tests are open.
pub(crate) const START: u64 = 1_700_000_040_000_000_000;

pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rate_limiter_checkpoint-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn files(&self) -> Vec<(u64, PathBuf)> {
        self.folder().files().expect("a folder")
    }

    fn folder(&self) -> Folder {
        Folder::new(self.0.clone())
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn seed() -> Seed {
    Seed::fixed(7)
}

/// A node with one limiter. Tags differ from node to node, as the numbers of atoms do.
pub(crate) struct Node {
    name: &'static str,
    windows: Vec<(String, Tag, Limit)>,
    limiter: Limiter,
    epoch: Epoch,
    clock: Arc<ManualClock>,
}

impl Node {
    pub(crate) fn new(windows: &[(&str, Limit)]) -> Self {
        Self::named("api", windows)
    }

    pub(crate) fn named(name: &'static str, windows: &[(&str, Limit)]) -> Self {
        static TAG: AtomicU64 = AtomicU64::new(100);
        let windows: Vec<_> = windows
            .iter()
            .map(|(name, limit)| {
                let tag = TAG.fetch_add(1, Ordering::Relaxed);
                ((*name).to_owned(), tag, limit.clone())
            })
            .collect();
        let clock = Arc::new(ManualClock::new(Nanos(START)));
        let options = Options {
            clock: Clock::Manual(Arc::clone(&clock)),
            ..Options::default()
        };
        let limits: Vec<_> = windows
            .iter()
            .map(|(_, tag, limit)| (*tag, limit.clone()))
            .collect();
        let (limiter, epoch) = Limiter::new(&limits, options).expect("valid limits");
        Self {
            name,
            windows,
            limiter,
            epoch,
            clock,
        }
    }

    pub(crate) fn at(&self, now: u64) {
        self.clock.set(Nanos(now));
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now().0
    }

    pub(crate) fn advance(&self, span: u64) {
        self.clock.advance(Nanos(span));
    }

    pub(crate) fn check(&self, id: u64, window: usize, cost: u64) {
        let checked = self
            .limiter
            .check(self.epoch, key(id), self.windows[window].1, cost);
        checked.expect("a known window");
    }

    pub(crate) fn check_all(&self, id: u64, cost: u64) {
        let checked = self
            .limiter
            .check_all(self.epoch, key(id), Select::All, cost);
        checked.expect("an open limiter");
    }

    /// Returns what is left, and the nanoseconds until all is.
    pub(crate) fn room(&self, id: u64, window: usize) -> (u64, u64) {
        let (_, tag, _) = &self.windows[window];
        let peek = |cost| {
            self.limiter
                .peek(self.epoch, key(id), *tag, cost)
                .expect("open")
        };
        let usage = peek(0);
        let all = match peek(usage.max).retry {
            Retry::Now => 0,
            Retry::After(wait) | Retry::Unenforced(wait) => wait.0,
            Retry::Never => u64::MAX,
        };
        (usage.remaining, all)
    }

    pub(crate) fn update(&self, window: usize, limit: &Limit) {
        let updated = self
            .limiter
            .update_limits(self.epoch, &[(self.windows[window].1, limit.clone())]);
        updated.expect("a limit of the same shape");
    }

    pub(crate) fn close(&self) {
        self.limiter.close(self.epoch).expect("an open limiter");
    }

    pub(crate) fn save(&self, folder: &TempFolder, keep: usize) -> Result<Saved, Error> {
        let head = Head {
            instance: b"node".to_vec(),
            seed: seed().to_bytes(),
            written: self.clock.now(),
        };
        folder.folder().save(keep, &head, &[self.member()])
    }

    pub(crate) fn restore(&self, folder: &TempFolder) -> Result<Outcome, Error> {
        self.restore_if(folder, |_| Ok(()))
    }

    pub(crate) fn restore_if(
        &self,
        folder: &TempFolder,
        accepts: impl FnMut(&Head) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        folder
            .folder()
            .restore(self.clock.now(), &[self.member()], accepts)
    }

    fn member(&self) -> Member<'_> {
        Member {
            name: self.name.to_owned(),
            windows: self.windows.clone(),
            limiter: &self.limiter,
            epoch: self.epoch,
        }
    }
}

fn key(id: u64) -> Key {
    seed().key(&id.to_le_bytes())
}
