//! What would these limits have done to this log?
//!
//! A [`Replay`] is fed the bytes of one or more logs as they come. It cuts and reads lines, puts requests in order of
//! time, and asks a [`Limiter`](rate_limiter_core::Limiter) for each limit under a manual clock that shows the log's time. At the
//! end it tells what happened ([`Outcome`]) and which limit would have fitted ([`Fit`]).
//!
//! What it takes: for each id its bytes and about 50 more, and 80 for each limit; the requests of the reorder span; and,
//! where limits are to be fitted, 12 bytes a request (20 with costs), twice that while they are sorted.
//!
//! ```
//! use rate_limiter_replay::{ClfField, Format, Options, Part, Replay, Schema};
//! use rate_limiter_core::Limit;
//! use std::time::Duration;
//!
//! let schema = Schema {
//!     format: Format::Auto,
//!     time: vec!["time".to_owned()],
//!     time_unit: None,
//!     key: vec![Part { clf: Some(ClfField::Ip), json: vec!["ip".to_owned()] }],
//!     cost: None,
//! };
//! let limits = [Limit::token_bucket(1, Duration::from_secs(60))];
//! let mut replay = Replay::new(&limits, schema, Options::default())?;
//! let log = replay.open();
//! replay.feed(log, br#"10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1
//! 10.0.0.1 - - [17/May/2015:10:05:13 +0000] "GET / HTTP/1.1" 200 1
//! "#);
//! replay.close(log);
//! let outcome = replay.outcome(0, 10);
//! assert_eq!((outcome.totals.admitted, outcome.totals.denied), (1, 1));
//! assert_eq!(outcome.top[0].longest_wait_ns, Some(50_000_000_000));
//! assert_eq!(replay.fit(0, &[0]).smallest, [Some(2)]);
//! # Ok::<(), rate_limiter_replay::ReplayError>(())
//! ```

mod address;
mod balancer;
mod clf;
mod curve;
mod events;
mod fit;
mod ids;
mod input;
mod json;
mod judge;
mod layouts;
mod lines;
mod moment;
mod order;
mod outcome;
mod prefix;
mod record;
mod suspects;
mod timeline;
mod w3c;

use std::sync::Arc;

use rate_limiter_core::{Limit, LimitError, ManualClock, Nanos, Seed};

use events::{ById, Events};
use ids::Ids;
use judge::{Judge, Request};
use lines::{Line, Lines};
use order::{Order, Pending};
use record::RecordReader;

pub use clf::ClfField;
pub use curve::{Fit, Point};
pub use fit::with_limit;
pub use input::{Broken, Input};
pub use moment::{Moment, TimeUnit};
pub use outcome::{Outcome, TimeColumn, TopId};
pub use record::{Format, LineError, Part, Schema};
pub use suspects::Suspects;
pub use timeline::Counts;

/// Why a replay cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A limit cannot be kept exactly.
    #[error("limit {index}: {error}")]
    Limit {
        /// Which, from 0.
        index: usize,
        /// Why.
        error: LimitError,
    },
    /// The schema asks for more JSON names than can be looked for at once.
    #[error("expected at most 128 field names in all")]
    TooManyNames,
}

/// How to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How far behind the latest time of its log a line may come and still be put in its place, in nanoseconds. With
    /// `u64::MAX` all requests wait for the end, and are sorted.
    pub reorder_ns: u64,
    /// Whether requests are kept so that [`Replay::fit`] can try other limits on them.
    pub keep_requests: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reorder_ns: 60_000_000_000,
            keep_requests: true,
        }
    }
}

/// Limits, a clock, and all that has been read so far.
#[derive(Debug)]
pub struct Replay {
    reader: RecordReader,
    sources: Vec<Lines>,
    ids: Ids,
    /// How often each id asked.
    requests: Vec<u64>,
    order: Order,
    clock: Arc<ManualClock>,
    seed: Seed,
    judges: Vec<Judge>,
    kept: Kept,
    input: Input,
}

/// The requests, for trying other limits on them.
#[derive(Debug)]
enum Kept {
    Not,
    Coming(Events),
    Sorted(ById),
}

impl Replay {
    /// A replay of nothing yet.
    pub fn new(limits: &[Limit], schema: Schema, options: Options) -> Result<Self, ReplayError> {
        let clock = Arc::new(ManualClock::new(Nanos(0)));
        let judges = limits.iter().enumerate().map(|(index, limit)| {
            Judge::new(limit.clone(), &clock).map_err(|error| ReplayError::Limit { index, error })
        });
        Ok(Self {
            judges: judges.collect::<Result<_, _>>()?,
            reader: RecordReader::new(schema).ok_or(ReplayError::TooManyNames)?,
            sources: Vec::new(),
            ids: Ids::default(),
            requests: Vec::new(),
            order: Order::new(options.reorder_ns),
            clock,
            seed: Seed::random(),
            kept: if options.keep_requests {
                Kept::Coming(Events::default())
            } else {
                Kept::Not
            },
            input: Input::default(),
        })
    }

    /// Opens one more log and returns its number. Open all that are to be merged by time before feeding any.
    pub fn open(&mut self) -> usize {
        self.sources.push(Lines::default());
        self.input.open();
        self.order.open()
    }

    /// How many logs were opened.
    #[must_use]
    pub fn logs(&self) -> usize {
        self.sources.len()
    }

    /// How many limits are judged by.
    #[must_use]
    pub fn limits(&self) -> usize {
        self.judges.len()
    }

    /// Reads the next bytes of a log, which may end anywhere in a line.
    ///
    /// Requests are judged as soon as every open log has moved past them, so feed the one that is furthest behind:
    /// then little has to wait.
    ///
    /// # Panics
    ///
    /// Where `log` was not opened.
    pub fn feed(&mut self, log: usize, bytes: &[u8]) {
        let mut lines = std::mem::take(&mut self.sources[log]);
        lines.feed(bytes, |line| self.line(log, line));
        self.sources[log] = lines;
    }

    /// The log has ended.
    ///
    /// # Panics
    ///
    /// Where `log` was not opened.
    pub fn close(&mut self, log: usize) {
        let mut lines = std::mem::take(&mut self.sources[log]);
        lines.finish(|line| self.line(log, line));
        self.order.close(log);
        self.judge_due();
    }

    /// The latest time that the log has shown, in nanoseconds since 1970.
    ///
    /// # Panics
    ///
    /// Where `log` was not opened.
    #[must_use]
    pub fn latest(&self, log: usize) -> Option<u64> {
        self.order.latest(log)
    }

    /// What was read so far.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// How many ids have asked.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.ids.len()
    }

    /// A limit as it was stated.
    ///
    /// # Panics
    ///
    /// Where there is no limit of this number.
    #[must_use]
    pub fn limit(&self, limit: usize) -> &Limit {
        self.judges[limit].limit()
    }

    /// What a limit did, with the `top` ids that it denied most often.
    ///
    /// # Panics
    ///
    /// Where there is no limit of this number.
    #[must_use]
    pub fn outcome(&self, limit: usize, top: usize) -> Outcome {
        Outcome::new(&self.judges[limit], &self.ids, &self.requests, top)
    }

    /// Which limits like this one would have denied at most these shares of the ids, in parts per million, and what
    /// others would have done. Empty where requests were not kept. Call it when all logs are closed: later requests
    /// are not kept any more.
    ///
    /// # Panics
    ///
    /// Where there is no limit of this number.
    pub fn fit(&mut self, limit: usize, shares_ppm: &[u32]) -> Fit {
        if let Kept::Coming(events) = &mut self.kept {
            self.kept = Kept::Sorted(std::mem::take(events).by_id(self.ids.len()));
        }
        match &self.kept {
            Kept::Sorted(events) if events.len() > 0 => {
                curve::fit(self.judges[limit].limit(), events, shares_ppm)
            }
            _ => Fit::default(),
        }
    }

    /// What looks wrong about the ids that have asked.
    #[must_use]
    pub fn suspects(&self) -> Suspects {
        let ids = (0..).take(self.ids.len()).map(|id| self.ids.key(id));
        Suspects::new(ids, self.reader.ip_part())
    }

    fn line(&mut self, log: usize, line: Line) {
        self.input.count_line(log);
        let (text, record) = match line {
            Line::Whole(text) if text.trim_ascii().is_empty() => {
                self.input.blank += 1;
                return;
            }
            Line::Whole(text) => (text, self.reader.read(log, text)),
            Line::TooLong(text) => (text, Err(record::refined(text, LineError::TooLong))),
        };
        let record = match record {
            Ok(Some(record)) if record.has_key => record,
            Ok(Some(_)) => {
                self.input.without_id += 1;
                return self.hint(text);
            }
            Ok(None) => {
                self.input.blank += 1;
                return;
            }
            Err(error) => {
                if error == LineError::NoTime || error == LineError::Time {
                    self.hint(text);
                }
                return self.input.broken(log, text, error);
            }
        };
        let Some(id) = self.ids.number(self.reader.key()) else {
            return self.input.broken(log, text, LineError::TooManyIds);
        };
        let moment = record.moment;
        self.input.step(self.order.last(log), moment.unix_ns);
        let late = self
            .order
            .push(log, moment.unix_ns, id, record.cost, moment.hour());
        self.input.request(log, moment, late, record.layouts);
        // At once, so that the moment at which a late line is judged does not hang on how the bytes came.
        self.judge_due();
    }

    /// Keeps the fields of the first line that lacks one.
    fn hint(&mut self, text: &[u8]) {
        if self.input.first_fields.is_empty() && self.input.without_id + self.input.broken <= 100 {
            self.input.first_fields = self.reader.hint(text);
        }
    }

    fn judge_due(&mut self) {
        while let Some(due) = self.order.pop() {
            self.judge(&due);
        }
    }

    fn judge(&mut self, due: &Pending) {
        // A late one is judged now: the clock does not go back for it.
        let now = self.clock.now().0.max(due.unix_ns);
        self.clock.set(Nanos(now));
        let id = due.id as usize;
        if id >= self.requests.len() {
            self.requests.resize(id + 1, 0);
        }
        self.requests[id] += 1;
        let request = Request {
            key: self.seed.key(self.ids.key(due.id)),
            id: due.id,
            cost: due.cost,
            hour: due.hour,
            now,
            zone_minutes: self.input.zone_minutes().unwrap_or(0),
        };
        for judge in &mut self.judges {
            judge.judge(&request);
        }
        if let Kept::Coming(events) = &mut self.kept {
            events.push(due.id, now, due.cost);
        }
    }
}
