//! What a replay needs of one line: time, id and cost.

use std::hash::{DefaultHasher, Hasher};

use crate::clf::{self, ClfField, ClfLine};
use crate::error::LineError;
use crate::json::{self, Source, Value};
use crate::moment::{Moment, TimeUnit};

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
}

/// Reads lines by a schema.
#[derive(Debug)]
pub(crate) struct RecordReader {
    schema: Schema,
    /// All JSON names in a row: of the time, of each part, of the cost.
    wanted: Vec<Vec<u8>>,
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

impl RecordReader {
    /// Returns `None` for more names than can be searched at once.
    pub(crate) fn new(schema: Schema) -> Option<Self> {
        let parts = schema.key.iter().chain(&schema.cost);
        let names = schema.time.iter().chain(parts.flat_map(|part| &part.json));
        let wanted: Vec<Vec<u8>> = names.map(|name| name.clone().into_bytes()).collect();
        (wanted.len() <= json::MAX_WANTED).then_some(Self {
            schema,
            wanted,
            key: Vec::new(),
        })
    }

    /// Returns the id of the last line: each part after its length, so that two ids never have the same bytes.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn read(&mut self, line: &[u8]) -> Result<Record, LineError> {
        self.key.clear();
        let json = match self.schema.format {
            Format::Auto => line.trim_ascii_start().first() == Some(&b'{'),
            Format::Clf => false,
            Format::Json => true,
        };
        if json {
            self.read_json(line)
        } else {
            self.read_clf(line)
        }
    }

    fn read_clf(&mut self, line: &[u8]) -> Result<Record, LineError> {
        let line = ClfLine::parse(line)?;
        let mut has_key = false;
        for part in &self.schema.key {
            let text = line.field(part.clf.ok_or(LineError::NoField)?);
            has_key |= text.is_some();
            push_part(&mut self.key, text);
        }
        let cost = match &self.schema.cost {
            None => 1,
            Some(part) => match line.field(part.clf.ok_or(LineError::NoField)?) {
                None => 0,
                Some(text) => whole_number(text).ok_or(LineError::Cost)?,
            },
        };
        Ok(Record {
            moment: line.moment,
            cost,
            has_key,
        })
    }

    fn read_json(&mut self, line: &[u8]) -> Result<Record, LineError> {
        let mut found = [None; json::MAX_WANTED];
        let found = &mut found[..self.wanted.len()];
        let source = Source::new(line);
        source
            .find(&self.wanted, found)
            .map_err(|_| LineError::Json)?;
        let mut found = Found(found);

        let time = found.first(self.schema.time.len());
        let moment = self.moment(time.ok_or(LineError::NoTime)?)?;
        let mut has_key = false;
        for part in &self.schema.key {
            let value = found.first(part.json.len());
            let cut_query = part.clf == Some(ClfField::Path);
            let text = match value {
                None => None,
                Some(value) => Some(value.text().ok_or(LineError::Nested)?),
            };
            let text = text.as_deref();
            let text = text.map(|text| if cut_query { clf::path(text) } else { text });
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
        })
    }

    fn moment(&self, value: Value) -> Result<Moment, LineError> {
        let text = value.text().ok_or(LineError::Time)?;
        Moment::parse(&text, self.schema.time_unit).ok_or(LineError::Time)
    }
}

/// The values of the wanted names, taken from the front.
struct Found<'f, 'a>(&'f [Option<Value<'a>>]);

impl<'a> Found<'_, 'a> {
    /// Returns the first of the next `count` values that is present and not null.
    fn first(&mut self, count: usize) -> Option<Value<'a>> {
        let (mine, rest) = self.0.split_at(count);
        self.0 = rest;
        mine.iter()
            .flatten()
            .copied()
            .find(|value| !value.is_null())
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

        let clf = reader.read(CLF).expect("a record");
        assert_eq!(parts(&reader), expected);
        let line = br#"{"ts":1431857103,"client":{"ip":"10.0.0.1"},"user":null,"path":"\/a?b=1","bytes":"77"}"#;
        let json = reader.read(line).expect("a record");
        assert_eq!(parts(&reader), expected);
        assert_eq!(clf, json);
        assert_eq!((clf.cost, clf.has_key), (77, true));
    }

    #[test]
    fn a_line_without_any_part_has_no_key() {
        let mut reader = reader(vec![part(Some(ClfField::User), &["user"])], None);
        assert!(!reader.read(CLF).expect("a record").has_key);
        assert!(!reader.read(br#"{"ts":1}"#).expect("a record").has_key);
        assert!(
            reader
                .read(br#"{"ts":1,"user":""}"#)
                .expect("a record")
                .has_key
        );
    }

    #[test]
    fn a_broken_line_returns_its_error() {
        let mut reader = reader(vec![part(None, &["user"])], Some(part(None, &["cost"])));
        for (line, expected) in [
            (CLF, LineError::NoField),
            (br#"{"ts":1,"user":["a"]}"#, LineError::Nested),
            (br#"{"ts":"today","user":"a"}"#, LineError::Time),
            (br#"{"user":"a"}"#, LineError::NoTime),
            (br#"{"ts":null,"user":"a"}"#, LineError::NoTime),
            (br#"{"ts":1,"user":"a","cost":1.5}"#, LineError::Cost),
            (br#"{"ts":1,"user":"a","cost":-1}"#, LineError::Cost),
            (br#"{"ts":1,"user":"a""#, LineError::Json),
        ] {
            let text = String::from_utf8_lossy(line);
            assert_eq!(reader.read(line).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn long_parts_are_cut_but_stay_different() {
        let mut reader = reader(vec![part(None, &["user"])], None);
        let mut keys = Vec::new();
        for last in ["a", "b"] {
            let line = format!(r#"{{"ts":1,"user":"{}{last}"}}"#, "x".repeat(100_000));
            reader.read(line.as_bytes()).expect("a record");
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
