//! The content of a line that a replay needs: time, id and cost.

use crate::clf::{ClfField, ClfLine};
use crate::error::LineError;
use crate::json::{self, Source, Value, Wanted};
use crate::layouts::Layouts;
use crate::moment::Moment;
use crate::schema::{Format, Part, Schema};
use crate::w3c::{Columns, Row};
use crate::words::word;
use crate::{address, balancer, key, prefix};

/// The content of a line. The id stays in the reader, which owns its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) moment: Moment,
    pub(crate) cost: u64,
    /// Whether any part of the id is present.
    pub(crate) has_key: bool,
    pub(crate) layouts: Layouts,
}

/// Reads lines by a schema.
#[derive(Debug)]
pub(crate) struct RecordReader {
    schema: Schema,
    /// All JSON names in one row: the time's, each part's, the cost's, and those of what is reported.
    wanted: Wanted,
    /// The names under which an object holds the line of a server.
    envelope: Wanted,
    /// The columns of each log in W3C format.
    columns: Vec<Option<Columns>>,
    key: Vec<u8>,
    kind: Vec<u8>,
}

/// As Docker, Fluentd, journald and loggers of applications name the text.
const ENVELOPE: [&str; 4] = ["log", "message", "MESSAGE", "msg"];

const FEW_WANTED: usize = 72;

/// A number as a time is at least this many seconds, in 1973: smaller ones are durations.
const MIN_NUMBER_SECONDS: u64 = 100_000_000;

impl RecordReader {
    /// Returns `None` for more names than can be searched at once.
    pub(crate) fn new(schema: Schema) -> Option<Self> {
        let parts = schema.key.iter().chain(&schema.cost).chain(&schema.about);
        let names = schema.time.iter().chain(parts.flat_map(|part| &part.json));
        let names = names.map(|name| name.clone().into_bytes()).collect();
        let envelope = ENVELOPE.map(|name| name.as_bytes().to_vec()).to_vec();
        Some(Self {
            schema,
            wanted: Wanted::new(names)?,
            envelope: Wanted::new(envelope)?,
            columns: Vec::new(),
            key: Vec::new(),
            kind: Vec::new(),
        })
    }

    /// Returns the id of the last line: each part after its length, so that two ids never have the same bytes.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Returns what the last line has of [`Schema::about`], in the form of a key.
    pub(crate) fn kind(&self) -> &[u8] {
        &self.kind
    }

    /// Returns how many fields a kind has.
    pub(crate) fn kind_fields(&self) -> usize {
        self.schema.about.len()
    }

    /// The position among the parts of the key of the client's address.
    pub(crate) fn ip_part(&self) -> Option<usize> {
        let is_ip = |part: &Part| part.clf == Some(ClfField::Ip);
        self.schema.key.iter().position(is_ip)
    }

    /// Reads a line of a log; `None` for a header, which is not a request.
    pub(crate) fn read(&mut self, log: usize, line: &[u8]) -> Result<Option<Record>, LineError> {
        if line.first() == Some(&b'#') && self.schema.format == Format::Auto {
            if let Some(columns) = Columns::parse(line) {
                self.columns
                    .resize_with(self.columns.len().max(log + 1), || None);
                self.columns[log] = Some(columns);
            }
            return Ok(None);
        }
        let columns = self.columns.get_mut(log).and_then(Option::take);
        let record = match &columns {
            Some(columns) => self.read_row(Row::new(columns, line)),
            None => self.read_line(line, true),
        };
        if columns.is_some() {
            self.columns[log] = columns;
        }
        record.map(Some).map_err(|error| refined(line, error))
    }

    /// `may_wrap`: whether the line may hold another one inside of what a collector wrote.
    fn read_line(&mut self, line: &[u8], may_wrap: bool) -> Result<Record, LineError> {
        let is_json = line.trim_ascii_start().first() == Some(&b'{');
        match self.schema.format {
            Format::Json => self.read_json(line, may_wrap),
            Format::Auto if is_json => self.read_json(line, may_wrap),
            Format::Clf if is_json && may_wrap => self.read_envelope(line, LineError::Shape),
            _ => self.read_text(line, may_wrap),
        }
    }

    fn read_text(&mut self, line: &[u8], may_wrap: bool) -> Result<Record, LineError> {
        if memchr::memchr(b'\r', line).is_some() {
            return Err(LineError::CarriageReturns);
        }
        let (first, _) = word(line);
        if address::is_address(first) {
            return self.fields(&ClfLine::parse(line)?, Layouts::NONE);
        }
        if may_wrap {
            if let Some((own, layout)) = prefix::strip(line) {
                let mut record = self.read_line(own, false)?;
                record.layouts.add(layout);
                return Ok(record);
            }
        }
        if self.schema.format == Format::Auto {
            if let Some(line) = balancer::amazon(line) {
                return self.fields(&line?, Layouts::AMAZON);
            }
            if let Some(line) = balancer::envoy(line) {
                return self.fields(&line, Layouts::ENVOY);
            }
        }
        self.fields(&ClfLine::parse(line)?, Layouts::NONE)
    }

    fn fields(&mut self, line: &ClfLine, mut layouts: Layouts) -> Result<Record, LineError> {
        layouts.add(line.layouts);
        self.collect(line.moment, layouts, |part| {
            Ok(line.field(part.clf.ok_or(LineError::NoField)?))
        })
    }

    fn read_row(&mut self, row: Row) -> Result<Record, LineError> {
        let moment = row.moment(&self.schema.time)?;
        self.collect(moment, Layouts::W3C, |part| row.field(&part.json))
    }

    /// The record of a line at this moment, whose fields are `field`.
    fn collect<T: AsRef<[u8]>>(
        &mut self,
        moment: Moment,
        mut layouts: Layouts,
        mut field: impl FnMut(&Part) -> Result<Option<T>, LineError>,
    ) -> Result<Record, LineError> {
        self.key.clear();
        let mut has_key = false;
        for part in &self.schema.key {
            let value = field(part)?;
            has_key |= value.is_some();
            let value = value.as_ref().map(AsRef::as_ref);
            let value = value.map(|value| part.text(value, &mut layouts));
            key::push(&mut self.key, value);
        }
        let cost = match self.schema.cost.as_ref().map(&mut field) {
            None => 1,
            Some(Ok(None)) => 0,
            Some(Ok(Some(value))) => whole_number(value.as_ref()).ok_or(LineError::Cost)?,
            Some(Err(LineError::Nested)) => return Err(LineError::Cost),
            Some(Err(error)) => return Err(error),
        };
        self.kind.clear();
        for part in &self.schema.about {
            // A line that has no such field is judged as well.
            let value = field(part).ok().flatten();
            let value = value.as_ref().map(AsRef::as_ref);
            let value = value.map(|value| part.text(value, &mut Layouts::default()));
            key::push(&mut self.kind, value);
        }
        Ok(Record {
            moment,
            cost,
            has_key,
            layouts,
        })
    }

    fn read_json(&mut self, line: &[u8], may_wrap: bool) -> Result<Record, LineError> {
        let record = match self.read_object(line) {
            Err(LineError::Json) => match json::without_hex_escapes(line) {
                Some(repaired) => self.read_object(&repaired),
                None => Err(LineError::Json),
            },
            record => record,
        };
        match record {
            Ok(record) if record.has_key || !may_wrap => Ok(record),
            Ok(record) => self.read_envelope(line, LineError::NoTime).or(Ok(record)),
            Err(error) if may_wrap && error != LineError::Json => self.read_envelope(line, error),
            Err(error) => Err(error),
        }
    }

    /// The server's own line inside of an object, or the error where the object holds none with a client.
    fn read_envelope(&mut self, line: &[u8], error: LineError) -> Result<Record, LineError> {
        let mut found = [None; ENVELOPE.len()];
        let source = Source::new(line);
        source
            .find(&self.envelope, &mut found)
            .map_err(|_| LineError::Json)?;
        let inner = found.iter().flatten().find(|value| value.is_string());
        let inner = inner.and_then(|value| value.text()).ok_or(error)?;
        match self.read_line(inner.trim_ascii_end(), false) {
            Ok(mut record) if record.has_key => {
                record.layouts.add(Layouts::ENVELOPE);
                Ok(record)
            }
            _ => Err(error),
        }
    }

    fn read_object(&mut self, line: &[u8]) -> Result<Record, LineError> {
        // Most schemas want few names: room for all of them would cost a line more than its search.
        let (mut few, mut many);
        let found: &mut [Option<Value>] = if self.wanted.len() <= FEW_WANTED {
            few = [None; FEW_WANTED];
            &mut few[..self.wanted.len()]
        } else {
            many = [None; json::MAX_WANTED];
            &mut many[..self.wanted.len()]
        };
        let source = Source::new(line);
        source
            .find(&self.wanted, found)
            .map_err(|_| LineError::Json)?;
        let mut found = Found(found);

        let moment = self.moment(found.next(self.schema.time.len()))?;
        self.collect(moment, Layouts::NONE, |part| {
            let value = found.first(part.json.len());
            let text = value.map(|value| value.text().ok_or(LineError::Nested));
            text.transpose()
        })
    }

    /// The first of the values that is a time.
    fn moment(&self, values: &[Option<Value>]) -> Result<Moment, LineError> {
        let mut error = LineError::NoTime;
        for value in values.iter().flatten().filter(|value| !value.is_null()) {
            error = LineError::Time;
            let text = value.text().unwrap_or_default();
            let moment = Moment::parse(&text, self.schema.time_unit);
            let is_number = text
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'.');
            let guessed = is_number && self.schema.time_unit.is_none();
            let earliest = if guessed { MIN_NUMBER_SECONDS } else { 0 };
            match moment {
                Some(moment) if moment.unix_ns / 1_000_000_000 >= earliest => return Ok(moment),
                _ => {}
            }
        }
        Err(error)
    }

    /// The fields of a JSON line that has no id or no time, with their values.
    pub(crate) fn hint(line: &[u8]) -> Vec<(String, String)> {
        let own = prefix::strip(line).map_or(line, |(own, _)| own);
        let fields = json::fields(own);
        let inner = fields.iter().find(|(name, value)| {
            ENVELOPE.contains(&name.as_str()) && value.trim_start().starts_with('{')
        });
        match inner {
            Some((_, inner)) => json::fields(inner.as_bytes()),
            None => fields,
        }
    }
}

/// Names the encoding or the line ends that make a line unreadable.
pub(crate) fn refined(line: &[u8], error: LineError) -> LineError {
    let zeros = line.iter().take(64).filter(|&&byte| byte == 0).count();
    if zeros * 3 > line.len().min(64) {
        LineError::Utf16
    } else if error == LineError::TooLong && line.contains(&b'\r') {
        LineError::CarriageReturns
    } else {
        error
    }
}

/// The values of the wanted names, taken from the front.
struct Found<'f, 'a>(&'f [Option<Value<'a>>]);

impl<'f, 'a> Found<'f, 'a> {
    fn next(&mut self, count: usize) -> &'f [Option<Value<'a>>] {
        let (mine, rest) = self.0.split_at(count);
        self.0 = rest;
        mine
    }

    /// The first of the next `count` that is there and not null, empty or a dash.
    fn first(&mut self, count: usize) -> Option<Value<'a>> {
        let mine = self.next(count).iter().flatten().copied();
        mine.into_iter().find(|value| !value.is_nothing())
    }
}

fn whole_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
