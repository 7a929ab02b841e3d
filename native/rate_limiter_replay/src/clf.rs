//! Lines of the Common Log Format, and of the Combined Log Format, which appends two fields.
//!
//! ```text
//! host ident user [day/Mon/year:hh:mm:ss +zzzz] "METHOD /path?query HTTP/1.1" status bytes "referer" "agent"
//! ```

use crate::error::LineError;
use crate::moment::Moment;

/// A field of a line that can identify the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClfField {
    /// The client's address or host name.
    Ip,
    /// The authenticated user.
    User,
    /// The request's method.
    Method,
    /// The request's target up to the question mark.
    Path,
    /// The response's status.
    Status,
    /// The response's size in bytes.
    Bytes,
    /// The referring page (Combined).
    Referer,
    /// The user agent (Combined).
    Agent,
}

/// A line, split into its fields without a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClfLine<'a> {
    pub(crate) moment: Moment,
    host: &'a [u8],
    user: &'a [u8],
    request: &'a [u8],
    status: &'a [u8],
    bytes: &'a [u8],
    /// The rest of the line: the referer and the agent, each in quotes.
    rest: &'a [u8],
}

impl<'a> ClfLine<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let (client, moment, rest) = split_time(line)?;
        let (host, client) = split_at_space(client).ok_or(LineError::Shape)?;
        let (_ident, user) = split_at_space(client).ok_or(LineError::Shape)?;
        if host.is_empty() || user.is_empty() {
            return Err(LineError::Shape);
        }
        let (request, rest) = rest
            .strip_prefix(b" ")
            .and_then(quoted)
            .ok_or(LineError::Request)?;
        let rest = rest.strip_prefix(b" ").ok_or(LineError::Status)?;
        let (status, rest) = word(rest);
        let (bytes, rest) = word(rest.strip_prefix(b" ").ok_or(LineError::Status)?);
        if !is_status(status) || !is_count(bytes) {
            return Err(LineError::Status);
        }
        Ok(Self {
            moment,
            host,
            user,
            request,
            status,
            bytes,
            rest,
        })
    }

    /// Returns the text of a field as the log writes it; `None` for a dash or an empty field.
    pub(crate) fn field(&self, field: ClfField) -> Option<&'a [u8]> {
        let text = match field {
            ClfField::Ip => self.host,
            ClfField::User => self.user,
            ClfField::Method => self.method()?,
            ClfField::Path => path(self.target()?),
            ClfField::Status => self.status,
            ClfField::Bytes => self.bytes,
            ClfField::Referer => self.quoted_rest()?.0,
            ClfField::Agent => loosely_quoted(self.quoted_rest()?.1)?.0,
        };
        (!text.is_empty() && text != b"-").then_some(text)
    }

    fn method(&self) -> Option<&'a [u8]> {
        split_at_space(self.request).map(|(method, _)| method)
    }

    /// Returns what is between the method and the protocol, which may be missing. Clients do send spaces in a target.
    fn target(&self) -> Option<&'a [u8]> {
        let (_, target) = split_at_space(self.request)?;
        let last = target.iter().rposition(|&b| b == b' ');
        Some(match last {
            Some(at) if target[at + 1..].starts_with(b"HTTP/") => &target[..at],
            _ => target,
        })
    }

    fn quoted_rest(&self) -> Option<(&'a [u8], &'a [u8])> {
        loosely_quoted(self.rest)
    }
}

/// Returns the target of a request without its query.
pub(crate) fn path(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|&b| b == b'?');
    &target[..end.unwrap_or(target.len())]
}

/// Returns what is before the time, the time, and what is after it. User names may contain brackets and spaces, so the
/// first bracket that opens a valid time counts.
fn split_time(line: &[u8]) -> Result<(&[u8], Moment, &[u8]), LineError> {
    let mut error = LineError::Shape;
    let mut from = 0;
    while let Some(at) = line[from..].iter().position(|&b| b == b'[') {
        let open = from + at;
        let inside = &line[open + 1..];
        // The time in brackets has 26 bytes, or some more with a fraction.
        let close = inside.iter().take(48).position(|&b| b == b']');
        if open > 0 && line[open - 1] == b' ' {
            if let Some(close) = close {
                if let Some(moment) = Moment::common(&inside[..close]) {
                    return Ok((&line[..open - 1], moment, &inside[close + 1..]));
                }
                error = LineError::Time;
            }
        }
        from = open + 1;
    }
    Err(error)
}

fn split_at_space(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == b' ')?;
    Some((&text[..at], &text[at + 1..]))
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| b == b' ');
    text.split_at(end.unwrap_or(text.len()))
}

/// Returns the content of a string in quotes, in which a backslash escapes the next byte, and what follows it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += text[at..].iter().position(|&b| b == b'"' || b == b'\\')?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        at += 2;
        if at > text.len() {
            return None;
        }
    }
}

/// As `quoted`, after a space. Without a closing quote (servers cut long lines), returns all that is left.
fn loosely_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b" ")?;
    match quoted(text) {
        Some(parts) => Some(parts),
        None => Some((text.strip_prefix(b"\"")?, &[])),
    }
}

fn is_status(text: &[u8]) -> bool {
    text == b"-" || (text.len() == 3 && text.iter().all(u8::is_ascii_digit))
}

fn is_count(text: &[u8]) -> bool {
    text == b"-" || (!text.is_empty() && text.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMBINED: &str = r#"2001:db8::1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a b?x=\"1\" HTTP/1.0" 200 2326 "http://e.org/?\\" "Moz \"5\" [x]""#;

    fn field(line: &str, field: ClfField) -> Option<String> {
        let line = ClfLine::parse(line.as_bytes()).expect("a line");
        line.field(field)
            .map(|text| String::from_utf8_lossy(text).into_owned())
    }

    #[test]
    fn returns_every_field() {
        for (name, expected) in [
            (ClfField::Ip, "2001:db8::1"),
            (ClfField::User, "frank"),
            (ClfField::Method, "GET"),
            (ClfField::Path, "/a b"),
            (ClfField::Status, "200"),
            (ClfField::Bytes, "2326"),
            (ClfField::Referer, r"http://e.org/?\\"),
            (ClfField::Agent, r#"Moz \"5\" [x]"#),
        ] {
            assert_eq!(field(COMBINED, name).as_deref(), Some(expected), "{name:?}");
        }
        let line = ClfLine::parse(COMBINED.as_bytes()).expect("a line");
        assert_eq!(line.moment.unix_ns, 971_211_336_000_000_000);
    }

    #[test]
    fn a_dash_is_an_absent_field() {
        let line = r#"h - - [10/Oct/2000:13:55:36 -0700] "-" 408 -"#;
        assert_eq!(field(line, ClfField::Ip).as_deref(), Some("h"));
        for name in [
            ClfField::User,
            ClfField::Method,
            ClfField::Path,
            ClfField::Bytes,
            ClfField::Referer,
            ClfField::Agent,
        ] {
            assert_eq!(field(line, name), None, "{name:?}");
        }
    }

    #[test]
    fn a_user_may_contain_spaces_and_brackets() {
        let line = r#"h - a [b] c [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1"#;
        assert_eq!(field(line, ClfField::User).as_deref(), Some("a [b] c"));
    }

    #[test]
    fn a_cut_agent_is_read_to_the_end_of_the_line() {
        let line =
            r#"h - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1 "-" "Mozilla/5.0 (compat"#;
        assert_eq!(
            field(line, ClfField::Agent).as_deref(),
            Some("Mozilla/5.0 (compat")
        );
        assert_eq!(field(line, ClfField::Referer), None);
    }

    #[test]
    fn a_broken_line_returns_its_error() {
        for (line, expected) in [
            ("hello", LineError::Shape),
            ("[10/Oct/2000:13:55:36 -0700]", LineError::Shape),
            (
                r#"h - [10/Oct/2000:13:55:36 -0700] "GET /" 200 1"#,
                LineError::Shape,
            ),
            (
                r#"h - - [10/Okt/2000:13:55:36 -0700] "GET /" 200 1"#,
                LineError::Time,
            ),
            (
                r"h - - [10/Oct/2000:13:55:36 -0700] GET / 200 1",
                LineError::Request,
            ),
            (
                r#"h - - [10/Oct/2000:13:55:36 -0700] "GET / 200 1\"#,
                LineError::Request,
            ),
            (
                r#"h - - [10/Oct/2000:13:55:36 -0700] "GET /\" 200 1"#,
                LineError::Request,
            ),
            (
                r#"h - - [10/Oct/2000:13:55:36 -0700] "GET /" 20 1"#,
                LineError::Status,
            ),
            (
                r#"h - - [10/Oct/2000:13:55:36 -0700] "GET /" 200 x"#,
                LineError::Status,
            ),
            (
                r#"h - - [10/Oct/2000:13:55:36 -0700] "GET /" 200"#,
                LineError::Status,
            ),
        ] {
            assert_eq!(
                ClfLine::parse(line.as_bytes()).err(),
                Some(expected),
                "{line}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line: Vec<u8>) {
            let _ = ClfLine::parse(&line);
        }

        #[test]
        fn no_damage_panics(at in 0usize..COMBINED.len(), byte: u8, cut in 0usize..=COMBINED.len()) {
            let mut line = COMBINED.as_bytes().to_vec();
            line[at] = byte;
            if let Ok(line) = ClfLine::parse(&line[..cut]) {
                let _ = (line.field(ClfField::Path), line.field(ClfField::Agent), line.field(ClfField::Method));
            }
        }
    }
}
