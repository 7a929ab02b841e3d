//! What one thread has counted: for each window two panes of a minute, the present one and the one before.

use crate::call::Tag;
use crate::clock::{Clock, Nanos};
use crate::key::Key;

use super::summary::{Row, Summary};
use super::PANE;

/// Closed by default: counts nothing.
#[derive(Debug, Default)]
pub(super) struct Part(Option<Open>);

#[derive(Debug)]
struct Open {
    epoch: u32,
    clock: Clock,
    /// The number of the present pane since the clock's zero.
    pane: u64,
    windows: Vec<(Tag, [Pane; 2])>,
}

/// The calls of a window in one pane, and how many of them were denied.
#[derive(Debug)]
pub(super) struct Pane {
    pub(super) calls: Summary,
    pub(super) denials: Summary,
}

impl Part {
    pub(super) fn open(epoch: u32, clock: &Clock, tags: &[Tag], capacity: usize) -> Self {
        let pane = || Pane {
            calls: Summary::new(capacity),
            denials: Summary::new(capacity),
        };
        Self(Some(Open {
            epoch,
            clock: clock.clone(),
            pane: 0,
            windows: tags.iter().map(|&tag| (tag, [pane(), pane()])).collect(),
        }))
    }

    /// Returns the panes of a window that are not older than the last one, the present pane first.
    #[inline]
    pub(super) fn panes(
        &mut self,
        epoch: u32,
        tag: Tag,
        monotonic: Nanos,
    ) -> Option<(&mut Pane, &mut Pane)> {
        let open = self.0.as_mut().filter(|open| open.epoch == epoch)?;
        open.turn(open.clock.read(monotonic));
        let present = open.pane % 2 == 0;
        let (_, panes) = open.windows.iter_mut().find(|(known, _)| *known == tag)?;
        let [even, odd] = panes;
        Some(if present { (even, odd) } else { (odd, even) })
    }
}

impl Open {
    /// Begins another pane if its time has come.
    #[inline]
    fn turn(&mut self, now: Nanos) {
        let pane = now.0 / PANE.0;
        if pane != self.pane {
            self.forget(pane);
        }
    }

    #[cold]
    fn forget(&mut self, pane: u64) {
        let next = self.pane.wrapping_add(1) == pane;
        self.pane = pane;
        for (_, panes) in &mut self.windows {
            for (number, kept) in (0_u64..).zip(panes) {
                // A clock that was moved backwards, or far, leaves nothing that is of the last minutes.
                if number == pane % 2 || !next {
                    kept.clear();
                }
            }
        }
    }
}

impl Pane {
    /// Counts a call of a key.
    #[inline]
    pub(super) fn add(&mut self, key: Key, denied: bool, label: impl Fn() -> Option<Box<[u8]>>) {
        self.calls.add(key, &label);
        if denied {
            self.denials.add(key, &label);
        }
    }

    /// Returns copies of the rows of calls and of denials.
    pub(super) fn rows(&self) -> (Vec<Row>, Vec<Row>) {
        (self.calls.rows().to_vec(), self.denials.rows().to_vec())
    }

    fn clear(&mut self) {
        self.calls.clear();
        self.denials.clear();
    }
}
