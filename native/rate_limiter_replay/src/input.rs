//! What was read, and what of it could not be used.

use crate::layouts::Layouts;
use crate::moment::Moment;
use crate::record::LineError;

/// Broken lines that are kept to be shown.
const SHOWN: usize = 5;

/// Bytes that are kept of each.
const SHOWN_BYTES: usize = 256;

/// Totals over all logs.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Lines of all kinds.
    pub lines: u64,
    /// Those that are empty, white space, or a header.
    pub blank: u64,
    /// Those that were judged, or wait to be.
    pub requests: u64,
    /// Those that say nothing of who is asking.
    pub without_id: u64,
    /// Those that came further behind their log's latest time than the reorder span; judged when they came.
    pub late: u64,
    /// The log and line of the first late one.
    pub first_late: Option<(usize, u64)>,
    /// Those that could not be read.
    pub broken: u64,
    /// The first few of them.
    pub first_broken: Vec<Broken>,
    /// The earliest and the latest time of a request.
    pub span: Option<(Moment, Moment)>,
    /// Whether times were written under more than one offset.
    pub mixed_zones: bool,
    /// Requests that came later than the one before them in their log, and those that came earlier.
    pub steps: (u64, u64),
    /// The fields of the first JSON line without an id or without a time, with their values.
    pub first_fields: Vec<(String, String)>,
    zone_minutes: Option<i16>,
    layouts: [u64; Layouts::NAMES.len()],
    lines_of: Vec<u64>,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which log.
    pub log: usize,
    /// Which line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub error: LineError,
    /// Its first bytes.
    pub text: Vec<u8>,
}

impl Input {
    /// The offset under which the first time was written, in minutes east of UTC.
    #[must_use]
    pub fn zone_minutes(&self) -> Option<i16> {
        self.zone_minutes
    }

    /// How many requests stood in each of the layouts that are not the plain format, by name.
    pub fn layouts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counted = Layouts::NAMES.into_iter().zip(self.layouts);
        counted.filter(|&(_, count)| count > 0)
    }

    pub(crate) fn open(&mut self) {
        self.lines_of.push(0);
    }

    pub(crate) fn count_line(&mut self, log: usize) {
        self.lines += 1;
        self.lines_of[log] += 1;
    }

    pub(crate) fn step(&mut self, before: Option<u64>, now: u64) {
        match before {
            Some(before) if now > before => self.steps.0 += 1,
            Some(before) if now < before => self.steps.1 += 1,
            _ => {}
        }
    }

    pub(crate) fn request(&mut self, log: usize, moment: Moment, late: bool, layouts: Layouts) {
        self.requests += 1;
        if layouts != Layouts::NONE {
            for at in layouts.positions() {
                self.layouts[at] += 1;
            }
        }
        if late {
            self.late += 1;
            self.first_late.get_or_insert((log, self.lines_of[log]));
        }
        let zone = *self.zone_minutes.get_or_insert(moment.offset_minutes);
        self.mixed_zones |= zone != moment.offset_minutes;
        let (first, last) = self.span.get_or_insert((moment, moment));
        if moment.unix_ns < first.unix_ns {
            *first = moment;
        }
        if moment.unix_ns > last.unix_ns {
            *last = moment;
        }
    }

    pub(crate) fn broken(&mut self, log: usize, text: &[u8], error: LineError) {
        self.broken += 1;
        if self.first_broken.len() < SHOWN {
            self.first_broken.push(Broken {
                log,
                line: self.lines_of[log],
                error,
                text: text[..text.len().min(SHOWN_BYTES)].to_vec(),
            });
        }
    }
}
