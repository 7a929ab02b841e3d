//! What a replay needs of one line: time, id and cost.

use std::hash::{DefaultHasher, Hasher};

use crate::clf::{self, ClfField, ClfLine};
use crate::error::LineError;
use crate::json::{self, Source, Value, Wanted};
use crate::layouts::Layouts;
use crate::moment::{Moment, TimeUnit};
use crate::w3c::{Columns, Row};
use crate::{address, balancer, prefix};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line that begins with a brace is a JSON object, any other Common Log Format.
    Auto,
    /// Common or Combined Log Format.
    Clf,
    /// One JSON object a line.
    Json,
}

/// A part of a line: its field in Common Log Format, and its names in JSON, of which the first present one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `None` if Common Log Format has no such field.
    pub clf: Option<ClfField>,
    /// Names in JSON, with dots into nested objects.
    pub json: Vec<String>,
}

/// What to read of each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// How lines are written.
    pub format: Format,
    /// The names of the time in JSON.
    pub time: Vec<String>,
    /// What a number counts; `None`: its magnitude decides.
    pub time_unit: Option<TimeUnit>,
    /// The id: one part, or several together.
    pub key: Vec<Part>,
    /// The cost of a request; `None`: 1.
    pub cost: Option<Part>,
}

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
    /// All JSON names in one row: the time's, each part's, the cost's.
    wanted: Wanted,
    /// The names under which an object holds the line of a server.
    envelope: Wanted,
    /// The columns of each log in W3C format.
    columns: Vec<Option<Columns>>,
    key: Vec<u8>,
}

/// Returns the parts of an id: `None` for a part that the line does not have.
pub(crate) fn key_parts(mut key: &[u8]) -> Vec<Option<&[u8]>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        if length == ABSENT {
            parts.push(None);
            key = rest;
        } else {
            let (part, rest) = rest.split_at((length as usize).min(rest.len()));
            parts.push(Some(part));
            key = rest;
        }
    }
    parts
}

/// The length that marks an absent part.
const ABSENT: u32 = u32::MAX;

/// The text of a part is kept up to this length. A hash of the whole replaces the rest, so the memory of a key is
/// bounded whatever a client sent.
const MAX_PART: usize = 256;

/// As Docker, Fluentd, journald and loggers of applications name the text.
const ENVELOPE: [&str; 4] = ["log", "message", "MESSAGE", "msg"];

const FEW_WANTED: usize = 40;

/// A number as a time is at least this many seconds, in 1973: smaller ones are durations.
const MIN_NUMBER_SECONDS: u64 = 100_000_000;

impl RecordReader {
    /// Returns `None` for more names than can be searched at once.
    pub(crate) fn new(schema: Schema) -> Option<Self> {
        let parts = schema.key.iter().chain(&schema.cost);
        let names = schema.time.iter().chain(parts.flat_map(|part| &part.json));
        let names = names.map(|name| name.clone().into_bytes()).collect();
        let envelope = ENVELOPE.map(|name| name.as_bytes().to_vec()).to_vec();
        Some(Self {
            schema,
            wanted: Wanted::new(names)?,
            envelope: Wanted::new(envelope)?,
            columns: Vec::new(),
            key: Vec::new(),
        })
    }

    /// Returns the id of the last line: each part after its length, so that two ids never have the same bytes.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
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
        let (first, _) = clf::word(line);
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
        self.collect(line.moment, layouts, |part, _| {
            Ok(line.field(part.clf.ok_or(LineError::NoField)?))
        })
    }

    fn read_row(&mut self, row: Row) -> Result<Record, LineError> {
        let moment = row.moment(&self.schema.time)?;
        self.collect(moment, Layouts::W3C, |part, layouts| {
            let text = row.field(&part.json)?;
            Ok(text.map(|text| part.text(text, layouts)))
        })
    }

    /// The record of a line whose fields are text.
    fn collect<'a>(
        &mut self,
        moment: Moment,
        mut layouts: Layouts,
        field: impl Fn(&Part, &mut Layouts) -> Result<Option<&'a [u8]>, LineError>,
    ) -> Result<Record, LineError> {
        self.key.clear();
        let mut has_key = false;
        for part in &self.schema.key {
            let text = field(part, &mut layouts)?;
            has_key |= text.is_some();
            push_part(&mut self.key, text);
        }
        let cost = match &self.schema.cost {
            None => 1,
            Some(part) => match field(part, &mut layouts)? {
                None => 0,
                Some(text) => whole_number(text).ok_or(LineError::Cost)?,
            },
        };
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
        self.key.clear();
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
        let mut layouts = Layouts::NONE;
        let mut has_key = false;
        for part in &self.schema.key {
            let text = match found.first(part.json.len()) {
                None => None,
                Some(value) => Some(value.text().ok_or(LineError::Nested)?),
            };
            let text = text.as_deref().map(|text| part.text(text, &mut layouts));
            has_key |= text.is_some();
            push_part(&mut self.key, text);
        }
        let cost = match &self.schema.cost {
            None => 1,
            Some(part) => match found.first(part.json.len()) {
                None => 0,
                Some(value) => value
                    .text()
                    .and_then(|text| whole_number(&text))
                    .ok_or(LineError::Cost)?,
            },
        };
        Ok(Record {
            moment,
            cost,
            has_key,
            layouts,
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

impl Part {
    /// The text of the field that stands for a client: an address alone, and a path without its query.
    fn text<'a>(&self, text: &'a [u8], layouts: &mut Layouts) -> &'a [u8] {
        match self.clf {
            Some(ClfField::Ip) => {
                let (client, found) = address::client(text);
                layouts.add(found);
                client
            }
            Some(ClfField::Path) => clf::path(text),
            _ => text,
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

fn push_part(key: &mut Vec<u8>, text: Option<&[u8]>) {
    let Some(text) = text else {
        key.extend_from_slice(&ABSENT.to_le_bytes());
        return;
    };
    if text.len() <= MAX_PART {
        push_bytes(key, text);
        return;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    let mut short = text[..MAX_PART].to_vec();
    short.extend_from_slice(format!("...#{:016x}", hasher.finish()).as_bytes());
    push_bytes(key, &short);
}

/// Appends at most `MAX_PART` bytes and a hash, whose length fits.
fn push_bytes(key: &mut Vec<u8>, text: &[u8]) {
    let length = u32::try_from(text.len()).unwrap_or(ABSENT - 1);
    key.extend_from_slice(&length.to_le_bytes());
    key.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(clf: Option<ClfField>, json: &[&str]) -> Part {
        Part {
            clf,
            json: json.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn reader(key: Vec<Part>, cost: Option<Part>) -> RecordReader {
        RecordReader::new(Schema {
            format: Format::Auto,
            time: vec!["time".to_owned(), "ts".to_owned()],
            time_unit: None,
            key,
            cost,
        })
        .expect("few names")
    }

    fn read(reader: &mut RecordReader, line: &[u8]) -> Result<Record, LineError> {
        reader
            .read(0, line)
            .map(|record| record.expect("no header"))
    }

    fn parts(reader: &RecordReader) -> Vec<Option<String>> {
        key_parts(reader.key())
            .into_iter()
            .map(|part| part.map(|part| String::from_utf8_lossy(part).into_owned()))
            .collect()
    }

    const CLF: &[u8] = br#"10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a?b=1 HTTP/1.1" 200 77"#;

    #[test]
    fn both_formats_give_the_same_record() {
        let key = vec![
            part(Some(ClfField::Ip), &["addr", "client.ip"]),
            part(Some(ClfField::User), &["user"]),
            part(Some(ClfField::Path), &["path"]),
        ];
        let mut reader = reader(key, Some(part(Some(ClfField::Bytes), &["bytes"])));
        let expected = vec![Some("10.0.0.1".to_owned()), None, Some("/a".to_owned())];

        let clf = read(&mut reader, CLF).expect("a record");
        assert_eq!(parts(&reader), expected);
        let line = br#"{"ts":1431857103,"client":{"ip":"10.0.0.1"},"user":null,"path":"\/a?b=1","bytes":"77"}"#;
        let json = read(&mut reader, line).expect("a record");
        assert_eq!(parts(&reader), expected);
        assert_eq!(clf, json);
        assert_eq!((clf.cost, clf.has_key), (77, true));
    }

    #[test]
    fn a_line_without_any_part_has_no_key() {
        let mut reader = reader(vec![part(Some(ClfField::User), &["user"])], None);
        assert!(!read(&mut reader, CLF).expect("a record").has_key);
        for user in ["", r#","user":"""#, r#","user":"-""#, r#","user":null"#] {
            let line = format!(r#"{{"ts":1431857103{user}}}"#);
            let record = read(&mut reader, line.as_bytes()).expect("a record");
            assert!(!record.has_key, "{line}");
        }
    }

    #[test]
    fn a_broken_line_returns_its_error() {
        let mut reader = reader(vec![part(None, &["user"])], Some(part(None, &["cost"])));
        for (line, expected) in [
            (CLF, LineError::NoField),
            (br#"{"ts":1431857103,"user":["a"]}"#, LineError::Nested),
            (br#"{"ts":"today","user":"a"}"#, LineError::Time),
            (br#"{"user":"a"}"#, LineError::NoTime),
            (br#"{"ts":null,"user":"a"}"#, LineError::NoTime),
            (
                br#"{"ts":1431857103,"user":"a","cost":1.5}"#,
                LineError::Cost,
            ),
            (
                br#"{"ts":1431857103,"user":"a","cost":-1}"#,
                LineError::Cost,
            ),
            (br#"{"ts":1431857103,"user":"a""#, LineError::Json),
        ] {
            let text = String::from_utf8_lossy(line);
            assert_eq!(read(&mut reader, line).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_duration_is_no_time() {
        let mut reader = reader(vec![part(None, &["user"])], None);
        for (line, expected) in [
            (
                r#"{"time":0.003,"ts":1431857103,"user":"a"}"#,
                Ok(1_431_857_103),
            ),
            (
                r#"{"time":"0.003","ts":"2015-05-17T10:05:03Z","user":"a"}"#,
                Ok(1_431_857_103),
            ),
            (r#"{"time":0.003,"user":"a"}"#, Err(LineError::Time)),
            (r#"{"time":99999999,"user":"a"}"#, Err(LineError::Time)),
            (r#"{"time":100000000,"user":"a"}"#, Ok(100_000_000)),
            (
                r#"{"time":"1971-01-01T00:00:00Z","user":"a"}"#,
                Ok(31_536_000),
            ),
        ] {
            let record = read(&mut reader, line.as_bytes());
            let seconds = record.map(|record| record.moment.unix_ns / 1_000_000_000);
            assert_eq!(seconds, expected, "{line}");
        }
    }

    #[test]
    fn a_collector_may_wrap_a_line_of_either_format() {
        let own = [
            String::from_utf8(CLF.to_vec()).expect("text"),
            r#"{"ts":1431857103,"addr":"10.0.0.1"}"#.to_owned(),
        ];
        for own in own {
            let quoted = serde_json::to_string(&format!("{own}\n")).expect("JSON");
            for line in [
                format!(r#"{{"log":{quoted},"stream":"stdout","time":"2026-11-29T23:00:33.1Z"}}"#),
                format!(r#"{{"MESSAGE":{quoted},"__REALTIME_TIMESTAMP":"1764457233000000"}}"#),
                format!("2026-11-29T23:00:33.123456789Z stdout F {own}"),
                format!("<190>Nov 29 23:00:33 web1 nginx: {own}"),
                format!("web-1  | {own}"),
            ] {
                let mut reader = reader(vec![part(Some(ClfField::Ip), &["addr"])], None);
                let record = read(&mut reader, line.as_bytes()).expect("a record");
                assert_eq!(record.moment.unix_ns, 1_431_857_103_000_000_000, "{line}");
                assert_eq!(parts(&reader), [Some("10.0.0.1".to_owned())], "{line}");
                assert_ne!(record.layouts, Layouts::NONE);
            }
        }
    }

    #[test]
    fn hex_escapes_of_nginx_are_read() {
        let mut reader = reader(vec![part(None, &["agent"])], None);
        let line = br#"{"time":"2015-05-17T10:05:03Z","agent":"a \x22b\x22"}"#;
        read(&mut reader, line).expect("a record");
        assert_eq!(parts(&reader), [Some(r#"a "b""#.to_owned())]);
    }

    #[test]
    fn another_encoding_and_other_line_ends_are_named() {
        let mut reader = reader(vec![part(Some(ClfField::Ip), &["ip"])], None);
        let text = String::from_utf8_lossy(CLF);
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(&mut reader, &utf16), Err(LineError::Utf16));
        let line = format!("{text}\r{text}");
        assert_eq!(
            read(&mut reader, line.as_bytes()),
            Err(LineError::CarriageReturns)
        );
    }

    #[test]
    fn long_parts_are_cut_but_stay_apart() {
        let mut reader = reader(vec![part(None, &["user"])], None);
        let mut keys = Vec::new();
        for last in ["a", "b"] {
            let line = format!(
                r#"{{"ts":1431857103,"user":"{}{last}"}}"#,
                "x".repeat(100_000)
            );
            read(&mut reader, line.as_bytes()).expect("a record");
            keys.push(reader.key().to_vec());
        }
        assert_ne!(keys[0], keys[1]);
        assert!(keys[0].len() < 300);
    }

    proptest! {
        #[test]
        fn keys_of_several_parts_never_collide(a: Vec<Option<Vec<u8>>>, b: Vec<Option<Vec<u8>>>) {
            let key = |parts: &[Option<Vec<u8>>]| {
                let mut key = Vec::new();
                for part in parts {
                    push_part(&mut key, part.as_deref());
                }
                key
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
            let key = key(&a);
            let back: Vec<_> = key_parts(&key).into_iter().map(|part| part.map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(back, a);
        }
    }
}
