//! The wanted fields of one JSON object, found without building the object.
//!
//! It accepts what RFC 8259 does, and beyond that bytes that are no UTF-8 and lone surrogates: a log may hold what a
//! client sent. Numbers stay text, so that a time in nanoseconds loses no digit.

mod escape;

use escape::hex4;
pub(crate) use escape::unescape;

/// The most fields that can be wanted at once.
pub(crate) const MAX_WANTED: usize = 64;

/// Deeper nesting is no log line.
const MAX_DEPTH: usize = 64;

/// A field's value as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    /// A number, `true` or `false`.
    Bare(&'a [u8]),
    /// What is between the quotes, escapes and all.
    Text(&'a [u8]),
    /// An array or an object.
    Nested,
}

/// The line is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// Finds the values of the fields `wanted` in the object `line`: a dot in a name leads into an object, or is part of
/// the name. Where a name comes twice the last counts. `found` has one place for each name.
pub(crate) fn find<'a>(
    line: &'a [u8],
    wanted: &[Vec<u8>],
    found: &mut [Option<Value<'a>>],
) -> Result<(), NotJson> {
    found.fill(None);
    let mut scanner = Scanner {
        rest: line,
        wanted,
        found,
    };
    scanner.space();
    scanner.object(&Wanted::all(wanted), 0)?;
    scanner.space();
    scanner.rest.is_empty().then_some(()).ok_or(NotJson)
}

/// Which names can still be met at this depth: for each, the part of it that is left to match.
struct Wanted<'w>([Option<&'w [u8]>; MAX_WANTED]);

impl<'w> Wanted<'w> {
    fn all(wanted: &'w [Vec<u8>]) -> Self {
        let mut left = [None; MAX_WANTED];
        for (left, name) in left.iter_mut().zip(wanted) {
            *left = Some(name.as_slice());
        }
        Self(left)
    }

    /// Those that lead into the object under `key`; `None` where none does.
    fn below(&self, key: &[u8]) -> Option<Self> {
        let mut left = [None; MAX_WANTED];
        let mut any = false;
        for (below, name) in left.iter_mut().zip(&self.0) {
            *below = name.and_then(|name| name.strip_prefix(key)?.strip_prefix(b"."));
            any |= below.is_some();
        }
        any.then_some(Self(left))
    }
}

struct Scanner<'a, 'f> {
    rest: &'a [u8],
    wanted: &'f [Vec<u8>],
    found: &'f mut [Option<Value<'a>>],
}

impl<'a> Scanner<'a, '_> {
    fn space(&mut self) {
        let is_space = |b: &&u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        let length = self.rest.iter().take_while(is_space).count();
        self.rest = &self.rest[length..];
    }

    fn byte(&mut self) -> Result<u8, NotJson> {
        let (&first, rest) = self.rest.split_first().ok_or(NotJson)?;
        self.rest = rest;
        Ok(first)
    }

    fn expect(&mut self, expected: u8) -> Result<(), NotJson> {
        if self.byte()? == expected {
            Ok(())
        } else {
            Err(NotJson)
        }
    }

    fn object(&mut self, wanted: &Wanted, depth: usize) -> Result<(), NotJson> {
        self.expect(b'{')?;
        self.members(b'}', |scanner| {
            scanner.expect(b'"')?;
            let raw = scanner.string()?;
            scanner.space();
            scanner.expect(b':')?;
            scanner.space();
            // Names are compared as they mean, not as they are written, but nearly all are written plainly.
            if raw.contains(&b'\\') {
                let mut key = Vec::with_capacity(raw.len());
                unescape(raw, &mut key);
                scanner.member(&key, wanted, depth)
            } else {
                scanner.member(raw, wanted, depth)
            }
        })
    }

    fn member(&mut self, key: &[u8], wanted: &Wanted, depth: usize) -> Result<(), NotJson> {
        let below = if self.rest.first() == Some(&b'{') {
            wanted.below(key)
        } else {
            None
        };
        let value = match below {
            Some(below) if depth < MAX_DEPTH => {
                self.object(&below, depth + 1)?;
                Value::Nested
            }
            _ => self.value(depth)?,
        };
        for (at, left) in wanted.0[..self.wanted.len()].iter().enumerate() {
            if *left == Some(key) {
                self.found[at] = Some(value);
            }
        }
        Ok(())
    }

    /// What is between the brackets of an object or array, up to `close`: one `member` after each comma.
    fn members(
        &mut self,
        close: u8,
        mut member: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.space();
        if self.rest.first() == Some(&close) {
            return self.expect(close);
        }
        loop {
            self.space();
            member(self)?;
            self.space();
            match self.byte()? {
                b',' => {}
                end if end == close => return Ok(()),
                _ => return Err(NotJson),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, NotJson> {
        match self.rest.first().ok_or(NotJson)? {
            b'"' => {
                self.rest = &self.rest[1..];
                self.string().map(Value::Text)
            }
            b'{' | b'[' if depth >= MAX_DEPTH => Err(NotJson),
            b'{' => {
                self.object(&Wanted([None; MAX_WANTED]), depth + 1)?;
                Ok(Value::Nested)
            }
            b'[' => {
                self.expect(b'[')?;
                self.members(b']', |scanner| scanner.value(depth + 1).map(|_| ()))?;
                Ok(Value::Nested)
            }
            b't' => self.word(b"true").map(Value::Bare),
            b'f' => self.word(b"false").map(Value::Bare),
            b'n' => self.word(b"null").map(|_| Value::Null),
            _ => self.number().map(Value::Bare),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<&'a [u8], NotJson> {
        let (taken, rest) = self.rest.split_at_checked(word.len()).ok_or(NotJson)?;
        self.rest = rest;
        (taken == word).then_some(taken).ok_or(NotJson)
    }

    /// Behind the opening quote: up to the closing one, which is skipped.
    fn string(&mut self) -> Result<&'a [u8], NotJson> {
        let text = self.rest;
        let mut at = 0;
        loop {
            let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
            at += text[at..].iter().position(special).ok_or(NotJson)?;
            match text[at] {
                b'"' => break,
                b'\\' => at += Self::escape(&text[at + 1..])? + 1,
                _ => return Err(NotJson),
            }
        }
        self.rest = &text[at + 1..];
        Ok(&text[..at])
    }

    /// The length of an escape behind its backslash.
    fn escape(text: &[u8]) -> Result<usize, NotJson> {
        match text.first().ok_or(NotJson)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(1),
            b'u' if hex4(&text[1..]).is_some() => Ok(5),
            _ => Err(NotJson),
        }
    }

    fn number(&mut self) -> Result<&'a [u8], NotJson> {
        let text = self.rest;
        if self.rest.first() == Some(&b'-') {
            self.rest = &self.rest[1..];
        }
        let whole = self.digits()?;
        if whole.len() > 1 && whole[0] == b'0' {
            return Err(NotJson);
        }
        if self.rest.first() == Some(&b'.') {
            self.rest = &self.rest[1..];
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.rest.first() {
            self.rest = &self.rest[1..];
            if let Some(b'+' | b'-') = self.rest.first() {
                self.rest = &self.rest[1..];
            }
            self.digits()?;
        }
        Ok(&text[..text.len() - self.rest.len()])
    }

    fn digits(&mut self) -> Result<&'a [u8], NotJson> {
        let length = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        (length > 0).then_some(digits).ok_or(NotJson)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one<'a>(line: &'a str, name: &str) -> Result<Option<Value<'a>>, NotJson> {
        let mut found = [None];
        find(line.as_bytes(), &[name.as_bytes().to_vec()], &mut found)?;
        Ok(found[0])
    }

    #[test]
    fn values_of_every_kind() {
        let line = r#" {"a" : "x\"y", "b":-1.50e+3,"c":true,"d":null,"e":[1,{"a":2}],"f":{} } "#;
        for (name, expected) in [
            ("a", Some(Value::Text(br#"x\"y"#))),
            ("b", Some(Value::Bare(b"-1.50e+3"))),
            ("c", Some(Value::Bare(b"true"))),
            ("d", Some(Value::Null)),
            ("e", Some(Value::Nested)),
            ("f", Some(Value::Nested)),
            ("g", None),
        ] {
            assert_eq!(one(line, name), Ok(expected), "{name}");
        }
    }

    #[test]
    fn dots_lead_inside_or_belong_to_the_name() {
        let line = r#"{"user":{"id":1,"org":{"id":2}},"http.client":{"ip":3},"a.b":4}"#;
        for (name, expected) in [
            ("user.id", "1"),
            ("user.org.id", "2"),
            ("http.client.ip", "3"),
            ("a.b", "4"),
        ] {
            let expected = Ok(Some(Value::Bare(expected.as_bytes())));
            assert_eq!(one(line, name), expected, "{name}");
        }
        assert_eq!(one(line, "user"), Ok(Some(Value::Nested)));
        assert_eq!(one(line, "user.id.x"), Ok(None));
        assert_eq!(one(line, "id"), Ok(None));
    }

    #[test]
    fn the_last_of_two_counts_and_escaped_names_are_met() {
        let expected = Ok(Some(Value::Bare(&b"2"[..])));
        assert_eq!(one(r#"{"a":1,"a":2}"#, "a"), expected);
        assert_eq!(one(r#"{"\u0061":2}"#, "a"), expected);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(60), "]".repeat(60));
        assert!(one(&deep, "a").is_ok());
        let deeper = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert_eq!(one(&deeper, "a"), Err(NotJson));
        let objects = "{\"a\":".repeat(1_000_000);
        assert_eq!(one(&objects, "a.a.a"), Err(NotJson));
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
            let mut found = [None];
            let _ = find(&line, &[b"a.b".to_vec()], &mut found);
            unescape(&line, &mut Vec::new());
        }

        #[test]
        fn what_serde_writes_is_read_the_same(value in json(), pretty: bool) {
            let object = serde_json::json!({ "k": value });
            let line = if pretty {
                serde_json::to_string_pretty(&object)
            } else {
                serde_json::to_string(&object)
            }.expect("text");
            let found = one(&line, "k").map_err(|_| TestCaseError::fail("refused"))?;
            match (found.expect("k"), &object["k"]) {
                (Value::Bare(text), expected @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => {
                    let expected = expected.to_string();
                    prop_assert_eq!(text, expected.as_bytes());
                }
                (Value::Text(raw), serde_json::Value::String(expected)) => {
                    let mut text = Vec::new();
                    unescape(raw, &mut text);
                    prop_assert_eq!(&text, expected.as_bytes());
                }
                (Value::Null, serde_json::Value::Null)
                | (Value::Nested, serde_json::Value::Array(_) | serde_json::Value::Object(_)) => {}
                (found, expected) => prop_assert!(false, "{found:?} is not {expected}"),
            }
        }

        #[test]
        fn damaged_json_is_refused_as_serde_refuses_it(value in json(), at: prop::sample::Index, byte in 0x20u8..0x7f) {
            let mut line = serde_json::to_vec(&serde_json::json!({ "k": value })).expect("text");
            let at = at.index(line.len());
            line[at] = byte;
            let Ok(line) = String::from_utf8(line) else { return Ok(()) };
            let by_serde = match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&line) {
                Ok(_) => true,
                // Let through on purpose.
                Err(error) if error.to_string().contains("number out of range") => return Ok(()),
                Err(error) if error.to_string().contains("surrogate") => return Ok(()),
                Err(error) if error.to_string().contains("hex escape") => return Ok(()),
                Err(_) => false,
            };
            let accepted = one(&line, "k").is_ok();
            prop_assert_eq!(accepted, by_serde, "{}", line);
        }
    }
}
