//! Counts of lines that were read, and of those that could not be used.

use crate::error::LineError;
use crate::layouts::Layouts;
use crate::moment::Moment;

/// How many broken lines are kept as examples.
const SHOWN: usize = 5;

/// How many bytes of each are kept.
const SHOWN_BYTES: usize = 256;

/// Totals over all logs.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Lines of all kinds.
    pub lines: u64,
    /// Lines that are empty, white space, or a header.
    pub blank: u64,
    /// Lines that were checked, or wait for their check.
    pub requests: u64,
    /// Lines without an id.
    pub without_id: u64,
    /// Lines further behind the latest time of their log than the reorder span; they were checked when they were read.
    pub late: u64,
    /// The log and the line number of the first late line.
    pub first_late: Option<(usize, u64)>,
    /// Lines that could not be read.
    pub broken: u64,
    /// The first of these lines.
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
    /// The number of the log.
    pub log: usize,
    /// The number of the line, from 1.
    pub line: u64,
    /// The error.
    pub error: LineError,
    /// Its first bytes.
    pub text: Vec<u8>,
}

impl Input {
    /// Returns the offset of the first time, in minutes east of UTC.
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
