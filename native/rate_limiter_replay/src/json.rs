//! The wanted fields of one JSON object, found without building the object.
//!
//! `serde_json` checks the syntax. Values stay text, so a time in nanoseconds loses no digit. Beyond RFC 8259, bytes
//! that are not UTF-8 and lone surrogates are accepted inside strings, because a log may hold what a client sent.

mod value;

use std::fmt;

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

pub(crate) use value::{Source, Value};

/// The most fields that can be wanted at once: one bit each.
pub(crate) const MAX_WANTED: usize = 128;

/// The names of fields, with an index by their first byte: nearly all keys of a line begin like none of them.
#[derive(Debug)]
pub(crate) struct Wanted {
    names: Vec<Vec<u8>>,
    by_first: Box<[u128; 256]>,
}

impl Wanted {
    /// `None` where there are too many names.
    pub(crate) fn new(names: Vec<Vec<u8>>) -> Option<Self> {
        let mut by_first = Box::new([0; 256]);
        for (at, name) in names.iter().enumerate() {
            if let Some(&first) = name.first() {
                by_first[usize::from(first)] |= 1 << at;
            }
        }
        (names.len() <= MAX_WANTED).then_some(Self { names, by_first })
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// The line is not a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

impl Source<'_> {
    /// Finds the values of the fields `wanted`: a dot in a name leads into an object, or is part of the name. If a
    /// name occurs twice, the last one counts. `found` has one empty place for each name.
    pub(crate) fn find<'s>(
        &'s self,
        wanted: &Wanted,
        found: &mut [Option<Value<'s>>],
    ) -> Result<(), NotJson> {
        let mut search = Search {
            wanted,
            found,
            path: Vec::new(),
            widened: self.widened,
        };
        search.object(&self.text).map_err(|_| NotJson)
    }
}

/// Walks one object. `path` holds the names of the objects around it, each with a dot.
struct Search<'a, 'f> {
    wanted: &'f Wanted,
    found: &'f mut [Option<Value<'a>>],
    path: Vec<u8>,
    widened: bool,
}

impl<'a> Search<'a, '_> {
    fn object(&mut self, text: &'a str) -> serde_json::Result<()> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        deserializer.deserialize_map(&mut *self)?;
        deserializer.end()
    }

    /// The names that may begin with the path to here and `key`, one bit each.
    fn candidates(&self, key: &[u8]) -> u128 {
        let first = self.path.first().or(key.first());
        first.map_or(u128::MAX, |&first| self.wanted.by_first[usize::from(first)])
    }

    /// What `key` leaves of a wanted name, if the name begins with the path to here and `key`.
    fn left<'n>(&self, name: &'n [u8], key: &[u8]) -> Option<&'n [u8]> {
        let left = name.get(self.path.len()..)?;
        left.strip_prefix(key)
            .filter(|_| name.starts_with(&self.path))
    }
}

impl<'a> Visitor<'a> for &mut Search<'a, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key()? {
            // As raw text, since serde_json reads a key as text or bytes less or more strictly than it should.
            let key = Value::new(key, self.widened).text().unwrap_or_default();
            let (mut leads_below, mut ends_here) = (false, 0_u128);
            let mut candidates = self.candidates(&key);
            while candidates != 0 {
                let at = candidates.trailing_zeros() as usize;
                candidates &= candidates - 1;
                let Some(name) = self.wanted.names.get(at) else {
                    break;
                };
                let left = self.left(name, &key);
                leads_below |= left.is_some_and(|left| left.first() == Some(&b'.'));
                ends_here |= u128::from(left.is_some_and(<[u8]>::is_empty)) << at;
            }
            if !leads_below && ends_here == 0 {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = members.next_value()?;
            for (at, found) in self.found.iter_mut().enumerate() {
                if ends_here >> at & 1 == 1 {
                    *found = Some(Value::new(value, self.widened));
                }
            }
            if leads_below && value.get().starts_with('{') {
                let around = self.path.len();
                self.path.extend_from_slice(&key);
                self.path.push(b'.');
                self.object(value.get()).map_err(A::Error::custom)?;
                self.path.truncate(around);
            }
        }
        Ok(())
    }
}

/// A line in which each `\xHH` of nginx is what JSON has for it: an escape, or the byte itself from 0x80 on. `None`
/// where there is nothing to replace.
pub(crate) fn without_hex_escapes(line: &[u8]) -> Option<Vec<u8>> {
    let mut repaired = Vec::with_capacity(line.len() + 16);
    let (mut rest, mut found) = (line, false);
    while let Some(at) = memchr::memchr(b'\\', rest) {
        repaired.extend_from_slice(&rest[..at]);
        let hex = match &rest[at + 1..] {
            [b'x', high, low, ..] => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            _ => None,
        };
        let length = match hex {
            Some(byte) if byte < 0x80 => {
                repaired.extend_from_slice(format!("\\u00{byte:02x}").as_bytes());
                4
            }
            Some(byte) => {
                repaired.push(byte);
                4
            }
            // A backslash takes the next byte along.
            None => {
                let length = 2.min(rest.len() - at);
                repaired.extend_from_slice(&rest[at..at + length]);
                length
            }
        };
        found |= hex.is_some();
        rest = &rest[at + length..];
    }
    repaired.extend_from_slice(rest);
    found.then_some(repaired)
}

/// The fields of an object with their values, an inner object's with dots.
pub(crate) fn fields(line: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(line) {
        add_fields("", &object, &mut fields);
    }
    fields
}

fn add_fields(
    around: &str,
    object: &serde_json::Map<String, serde_json::Value>,
    fields: &mut Vec<(String, String)>,
) {
    for (name, value) in object {
        match value {
            serde_json::Value::Object(inner) => {
                add_fields(&format!("{around}{name}."), inner, fields);
            }
            serde_json::Value::String(text) => {
                fields.push((format!("{around}{name}"), text.clone()));
            }
            other => fields.push((format!("{around}{name}"), other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted(names: &[&str]) -> Wanted {
        let names = names.iter().map(|name| name.as_bytes().to_vec());
        Wanted::new(names.collect()).expect("few names")
    }

    #[test]
    fn hex_escapes_become_json() {
        let repaired = |line: &str| without_hex_escapes(line.as_bytes());
        let line = r#"{"a":"\\x22 \x22\x5C\xC3\xBC\n"}"#;
        let json = repaired(line).expect("escapes");
        let expected = "\\x22 \"\\ü\n".as_bytes().to_vec();
        assert_eq!(text(&json, "a"), Some(expected));
        assert_eq!(repaired(r#"{"a":"\\x22\n"}"#), None);
        assert_eq!(repaired(r"\"), None);
        assert_eq!(repaired(r"\x2"), None);
    }

    #[test]
    fn fields_are_listed_with_dots() {
        let line = br#"{"level":"info","request":{"remote_ip":"10.0.0.1","n":1}}"#;
        let names: Vec<String> = fields(line).into_iter().map(|field| field.0).collect();
        assert_eq!(names, ["level", "request.n", "request.remote_ip"]);
        assert!(fields(b"no").is_empty());
    }

    fn one(line: &[u8], name: &str) -> Result<Option<String>, NotJson> {
        let source = Source::new(line);
        let mut found = [None];
        source.find(&wanted(&[name]), &mut found)?;
        Ok(found[0].map(|value| value.raw.to_owned()))
    }

    fn text(line: &[u8], name: &str) -> Option<Vec<u8>> {
        let source = Source::new(line);
        let mut found = [None];
        source.find(&wanted(&[name]), &mut found).ok()?;
        Some(found[0]?.text()?.into_owned())
    }

    #[test]
    fn finds_values_of_every_kind() {
        let line = br#" {"a" : "x\"y", "b":-1.50e+3,"c":true,"d":null,"e":[1,{"a":2}],"f":{} } "#;
        for (name, raw, expected) in [
            ("a", r#""x\"y""#, Some("x\"y")),
            ("b", "-1.50e+3", Some("-1.50e+3")),
            ("c", "true", Some("true")),
            ("d", "null", Some("null")),
            ("e", r#"[1,{"a":2}]"#, None),
            ("f", "{}", None),
        ] {
            assert_eq!(one(line, name), Ok(Some(raw.to_owned())), "{name}");
            assert_eq!(
                text(line, name).as_deref(),
                expected.map(str::as_bytes),
                "{name}"
            );
        }
        assert_eq!(one(line, "g"), Ok(None));
    }

    #[test]
    fn a_dot_leads_inside_or_belongs_to_the_name() {
        let line = br#"{"user":{"id":1,"org":{"id":2}},"http.client":{"ip":3},"a.b":4}"#;
        for (name, expected) in [
            ("user.id", "1"),
            ("user.org.id", "2"),
            ("http.client.ip", "3"),
            ("a.b", "4"),
        ] {
            assert_eq!(one(line, name), Ok(Some(expected.to_owned())), "{name}");
        }
        assert_eq!(text(line, "user"), None);
        assert_eq!(one(line, "user.id.x"), Ok(None));
        assert_eq!(one(line, "id"), Ok(None));
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        assert_eq!(text(br#"{"a":1,"a":2}"#, "a").as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn names_are_compared_without_their_escapes() {
        assert_eq!(text(br#"{"\u0061":2}"#, "a").as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn escapes_become_characters() {
        let line = br#"{"a":"\"\\\/\b\f\n\r\t \u00e9 \ud83d\ude00 \ud83d! \udc00"}"#;
        let expected = "\"\\/\u{8}\u{c}\n\r\t \u{e9} \u{1f600} \u{fffd}! \u{fffd}";
        assert_eq!(text(line, "a").as_deref(), Some(expected.as_bytes()));
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_as_they_are() {
        let line = b"{\"\xC3\xA9\":\"\xE9\xC3\xA9\\u00e9\\n\",\"b\":\"\xFF\"}";
        assert_eq!(
            text(line, "\u{e9}").as_deref(),
            Some(&b"\xE9\xC3\xA9\xC3\xA9\n"[..])
        );
        assert_eq!(text(line, "b").as_deref(), Some(&b"\xFF"[..]));
    }

    #[test]
    fn a_control_character_is_not_json() {
        assert_eq!(one(b"{\"a\x08\":1}", "a"), Err(NotJson));
        assert_eq!(one(b"{\"b\":\"\x08\",\"a\":1}", "a"), Err(NotJson));
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = format!(
            "{{\"a\":{}{},\"b\":1}}",
            "[".repeat(500_000),
            "]".repeat(500_000)
        );
        assert_eq!(text(deep.as_bytes(), "b").as_deref(), Some(&b"1"[..]));
        let objects = "{\"a\":".repeat(1_000_000);
        assert_eq!(one(objects.as_bytes(), "a.a.a"), Err(NotJson));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map("[abc.]{1,3}", inner, 0..6)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line: Vec<u8>) {
            let _ = text(&line, "a.b");
        }

        #[test]
        fn a_written_value_is_read_the_same(value in json(), pretty: bool) {
            let object = serde_json::json!({ "k": value });
            let line = if pretty {
                serde_json::to_vec_pretty(&object)
            } else {
                serde_json::to_vec(&object)
            }.expect("text");
            let expected = match &object["k"] {
                serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
                serde_json::Value::String(text) => Some(text.clone()),
                bare => Some(bare.to_string()),
            };
            prop_assert_eq!(text(&line, "k"), expected.map(String::into_bytes));
        }

        #[test]
        fn damaged_json_is_refused(value in json(), at: prop::sample::Index, byte in 0x20u8..0x7f) {
            let mut line = serde_json::to_vec(&serde_json::json!({ "k": value })).expect("text");
            let at = at.index(line.len());
            line[at] = byte;
            let refused = match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&line) {
                Ok(_) => false,
                // Accepted on purpose.
                Err(error) if error.to_string().contains("number out of range") => return Ok(()),
                Err(error) if error.to_string().contains("surrogate") => return Ok(()),
                Err(error) if error.to_string().contains("hex escape") => return Ok(()),
                Err(error) if error.to_string().contains("unicode code point") => return Ok(()),
                Err(_) => true,
            };
            prop_assert_eq!(one(&line, "k").is_err(), refused, "{}", String::from_utf8_lossy(&line));
        }
    }
}
