//! Replays access logs against limits: what each limit would have admitted and denied.
//!
//! [`Replay::feed`] takes the bytes of one or more logs, in pieces of any size. It splits and reads lines, sorts
//! requests by time, and checks each with a [`Limiter`](rate_limiter_core::Limiter) for each limit, under a manual
//! clock that shows the time of the log. At the end, [`Replay::report`] returns what each limit did ([`LimitReport`]),
//! and [`Replay::fit`] which limit would have fitted ([`Fit`]).
//!
//! Memory: for each id its bytes and about 50 more, and 80 for each limit; for up to 100,000 kinds of requests, such as
//! pairs of a path and a status, their bytes and about 50 more; the requests of the reorder span; and, to fit limits, 12 bytes
//! a request (20 with costs), twice that while they are sorted.
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
//!     about: vec![Part { clf: Some(ClfField::Path), json: vec!["path".to_owned()] }],
//! };
//! let limits = [Limit::token_bucket(1, Duration::from_secs(60))];
//! let mut replay = Replay::new(&limits, schema, Options::default())?;
//! let log = replay.open();
//! replay.feed(log, br#"10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1
//! 10.0.0.1 - - [17/May/2015:10:05:13 +0000] "GET / HTTP/1.1" 200 1
//! "#);
//! replay.close(log);
//! let report = replay.report(0, 10);
//! assert_eq!((report.totals.admitted, report.totals.denied), (1, 1));
//! assert_eq!(report.top[0].longest_wait_ns, Some(50_000_000_000));
//! assert_eq!(report.kinds[0][0].value.as_deref(), Some(b"/".as_slice()));
//! assert_eq!(replay.fit(0, &[0]).smallest, [Some(2)]);
//! # Ok::<(), rate_limiter_replay::ReplayError>(())
//! ```

mod address;
mod balancer;
mod clf;
mod curve;
mod error;
mod events;
mod fit;
mod ids;
mod input;
mod json;
mod judge;
mod key;
mod kinds;
mod layouts;
mod lines;
mod marks;
mod moment;
mod order;
mod prefix;
mod record;
mod report;
mod schema;
mod suspects;
mod timeline;
mod w3c;
mod words;

use std::sync::Arc;

use rate_limiter_core::{Limit, ManualClock, Nanos, Seed};

use events::{ById, Events};
use fit::Fitting;
use ids::Ids;
use judge::{Judge, Request};
use kinds::Kinds;
use lines::{Line, Lines};
use marks::Marks;
use order::{Order, Pending};
use record::RecordReader;

pub use clf::ClfField;
pub use curve::{Fit, Point};
pub use error::{LineError, ReplayError};
pub use fit::with_limit;
pub use input::{Broken, Input};
pub use kinds::Kind;
pub use moment::{Moment, TimeUnit};
pub use report::{LimitReport, TimeColumn, TopId};
pub use schema::{Format, Part, Schema};
pub use suspects::Suspects;
pub use timeline::Decisions;

/// The options of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How far behind the latest time of its log a line may be and still be sorted, in nanoseconds. With `u64::MAX` all
    /// requests wait for the end of the logs.
    pub reorder_ns: u64,
    /// Whether requests are kept, so that [`Replay::fit`] can try other limits on them.
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

/// Limits, a clock, and what has been read so far.
#[derive(Debug)]
pub struct Replay {
    reader: RecordReader,
    sources: Vec<Lines>,
    ids: Ids,
    /// The number of requests of each id.
    requests: Vec<u64>,
    kinds: Kinds,
    order: Order,
    clock: Arc<ManualClock>,
    /// The times of the first and the last request that were checked.
    judged: Option<(u64, u64)>,
    seed: Seed,
    judges: Vec<Judge>,
    kept: Kept,
    input: Input,
}

/// The requests, to try other limits on them.
#[derive(Debug)]
enum Kept {
    Not,
    Coming(Events),
    Sorted(ById),
}

impl Replay {
    /// Returns a replay without logs.
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
            kinds: Kinds::default(),
            order: Order::new(options.reorder_ns),
            clock,
            judged: None,
            seed: Seed::random(),
            kept: if options.keep_requests {
                Kept::Coming(Events::default())
            } else {
                Kept::Not
            },
            input: Input::default(),
        })
    }

    /// Opens a log, and returns its number. Open all logs that are merged by time before the first is fed.
    pub fn open(&mut self) -> usize {
        self.sources.push(Lines::default());
        self.input.open();
        self.order.open()
    }

    /// Returns how many logs were opened.
    #[must_use]
    pub fn logs(&self) -> usize {
        self.sources.len()
    }

    /// Returns how many limits there are.
    #[must_use]
    pub fn limits(&self) -> usize {
        self.judges.len()
    }

    /// Reads the next bytes of a log, which may end anywhere in a line.
    ///
    /// A request is checked when every open log has passed its time. Feed the log that is furthest behind, so that few
    /// requests wait.
    ///
    /// # Panics
    ///
    /// If `log` was not opened.
    pub fn feed(&mut self, log: usize, bytes: &[u8]) {
        let mut lines = std::mem::take(&mut self.sources[log]);
        lines.feed(bytes, |line| self.line(log, line));
        self.sources[log] = lines;
    }

    /// Ends a log.
    ///
    /// # Panics
    ///
    /// If `log` was not opened.
    pub fn close(&mut self, log: usize) {
        let mut lines = std::mem::take(&mut self.sources[log]);
        lines.finish(|line| self.line(log, line));
        self.order.close(log);
        self.judge_due();
    }

    /// Returns the latest time in a log, in nanoseconds since 1970.
    ///
    /// # Panics
    ///
    /// If `log` was not opened.
    #[must_use]
    pub fn latest(&self, log: usize) -> Option<u64> {
        self.order.latest(log)
    }

    /// Returns what was read so far.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Returns the number of ids.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.ids.len()
    }

    /// Returns a limit as it was stated.
    ///
    /// # Panics
    ///
    /// If there is no limit of this number.
    #[must_use]
    pub fn limit(&self, limit: usize) -> &Limit {
        self.judges[limit].limit()
    }

    /// Returns what a limit did, with the `top` ids, and values of other fields, that it denied most often. Call it after
    /// all logs are closed: later requests are not kept any more.
    ///
    /// # Panics
    ///
    /// If there is no limit of this number.
    #[must_use]
    pub fn report(&mut self, limit: usize, top: usize) -> LimitReport {
        let judge = &self.judges[limit];
        let fields = self.reader.kind_fields();
        let kinds = self.kinds.denied_most(judge.denied_kinds(), fields, top);
        let marks = match (sorted(&mut self.kept, self.ids.len()), self.judged) {
            (Some(events), Some(span)) => Some(Marks {
                fitting: Fitting::new(judge.limit()),
                events,
                span,
            }),
            _ => None,
        };
        LimitReport::new(judge, (&self.ids, &self.requests), top, marks, kinds)
    }

    /// Returns which limits like this one would have denied at most these shares of the ids, in parts per million, and
    /// what other limits would have done. Empty if requests were not kept. Call it after all logs are closed: later
    /// requests are not kept any more.
    ///
    /// # Panics
    ///
    /// If there is no limit of this number.
    pub fn fit(&mut self, limit: usize, shares_ppm: &[u32]) -> Fit {
        match sorted(&mut self.kept, self.ids.len()) {
            Some(events) => curve::fit(self.judges[limit].limit(), events, shares_ppm),
            None => Fit::default(),
        }
    }

    /// Signs that ids were read wrongly.
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
        let request = order::Request {
            id,
            cost: record.cost,
            kind: self.kinds.number(self.reader.kind()),
            hour: moment.hour(),
        };
        self.input.step(self.order.last(log), moment.unix_ns);
        let late = self.order.push(log, moment.unix_ns, request);
        self.input.request(log, moment, late, record.layouts);
        // At once, so that the moment at which a late line is checked does not depend on the sizes of the pieces.
        self.judge_due();
    }

    /// Keeps the fields of the first line that lacks one.
    fn hint(&mut self, text: &[u8]) {
        if self.input.first_fields.is_empty() && self.input.without_id + self.input.broken <= 100 {
            self.input.first_fields = RecordReader::hint(text);
        }
    }

    fn judge_due(&mut self) {
        while let Some(due) = self.order.pop() {
            self.judge(&due);
        }
    }

    fn judge(&mut self, due: &Pending) {
        // A late request is checked at the present time: the clock is never set back.
        let now = self.clock.now().0.max(due.unix_ns);
        self.clock.set(Nanos(now));
        let (first, _) = *self.judged.get_or_insert((now, now));
        self.judged = Some((first, now));
        let logged = due.request;
        let id = logged.id as usize;
        if id >= self.requests.len() {
            self.requests.resize(id + 1, 0);
        }
        self.requests[id] += 1;
        self.kinds.count(logged.kind);
        let request = Request {
            key: self.seed.key(self.ids.key(logged.id)),
            logged,
            now,
            zone_minutes: self.input.zone_minutes().unwrap_or(0),
        };
        for judge in &mut self.judges {
            judge.judge(&request);
        }
        if let Kept::Coming(events) = &mut self.kept {
            events.push(logged.id, now, logged.cost);
        }
    }
}

/// Returns the requests by id, if they were kept and there are any.
fn sorted(kept: &mut Kept, ids: usize) -> Option<&ById> {
    if let Kept::Coming(events) = kept {
        *kept = Kept::Sorted(std::mem::take(events).by_id(ids));
    }
    match kept {
        Kept::Sorted(events) if events.len() > 0 => Some(events),
        _ => None,
    }
}
