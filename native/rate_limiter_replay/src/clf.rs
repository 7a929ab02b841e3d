//! Lines of the Common Log Format, and of the Combined Log Format, which appends two fields.
//!
//! ```text
//! host ident user [day/Mon/year:hh:mm:ss +zzzz] "METHOD /path?query HTTP/1.1" status bytes "referer" "agent"
//! ```

use crate::address;
use crate::error::LineError;
use crate::layouts::Layouts;
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
    pub(crate) layouts: Layouts,
    host: &'a [u8],
    user: &'a [u8],
    request: &'a [u8],
    status: &'a [u8],
    bytes: &'a [u8],
    /// The rest of the line: the referer and the agent, each in quotes.
    rest: &'a [u8],
    /// Whether the referer is there; a load balancer writes the agent alone.
    has_referer: bool,
}

impl<'a> ClfLine<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let (client, moment, rest) = split_time(line)?;
        let (host, user, layouts) = names(client).ok_or(LineError::Shape)?;
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
            layouts,
            host,
            user,
            request,
            status,
            bytes,
            rest,
            has_referer: true,
        })
    }

    /// The same fields out of the line of a proxy, which names the client by its address and has the agent in `rest`.
    pub(crate) fn of_proxy(
        moment: Moment,
        client: &'a [u8],
        request: &'a [u8],
        status: &'a [u8],
        bytes: &'a [u8],
        rest: &'a [u8],
    ) -> Option<Self> {
        let (host, layouts) = address::client(client);
        (is_status(status) && is_count(bytes)).then_some(Self {
            moment,
            layouts,
            host,
            user: b"-",
            request,
            status,
            bytes,
            rest,
            has_referer: false,
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
            ClfField::Referer if self.has_referer => self.quoted_rest()?.0,
            ClfField::Referer => return None,
            ClfField::Agent if self.has_referer => loosely_quoted(self.quoted_rest()?.1)?.0,
            ClfField::Agent => self.quoted_rest()?.0,
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

/// Returns the target of a request without its query, and without the server that a proxy puts before the path.
pub(crate) fn path(target: &[u8]) -> &[u8] {
    let target = if target.starts_with(b"http") {
        without_server(target).unwrap_or(target)
    } else {
        target
    };
    let end = target.iter().position(|&b| b == b'?');
    &target[..end.unwrap_or(target.len())]
}

fn without_server(target: &[u8]) -> Option<&[u8]> {
    let rest = target.strip_prefix(b"http")?;
    let rest = rest.strip_prefix(b"s").unwrap_or(rest);
    let server = rest.strip_prefix(b"://")?;
    let path = server.iter().position(|&byte| byte == b'/');
    Some(path.map_or(b"/", |path| &server[path..]))
}

/// Returns the client and the user of what is before the time: `host ident user`, also behind the name of a virtual host, and
/// where the host is a list of addresses.
fn names(text: &[u8]) -> Option<(&[u8], &[u8], Layouts)> {
    let (first, rest) = split_at_space(text)?;
    // Nearly all lines begin so, and nothing has to be removed.
    if address::is_v4(first) {
        return Some((first, split_at_space(rest)?.1, Layouts::NONE));
    }
    let (host, found) = address::client(first);
    if found == Layouts::NONE && address::is_address(host) {
        return Some((host, split_at_space(rest)?.1, found));
    }
    let mut layouts = Layouts::NONE;
    let text = if names_virtual_host(first, rest) {
        layouts.add(Layouts::VIRTUAL_HOST);
        rest
    } else {
        text
    };
    // The space that ends the host is the first one that is not behind a comma.
    let end = (1..text.len()).find(|&at| text[at] == b' ' && text[at - 1] != b',')?;
    let (host, found) = address::client(&text[..end]);
    layouts.add(found);
    Some((host, split_at_space(&text[end + 1..])?.1, layouts))
}

/// Whether the first word is a virtual host: the client's address is behind it, or it has a port and one more word than
/// the format follows.
fn names_virtual_host(first: &[u8], rest: &[u8]) -> bool {
    let (second, after) = word(rest);
    let port = memchr::memrchr(b':', first).map(|colon| &first[colon + 1..]);
    let has_port = port.is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit));
    let names_client = address::is_address(address::client(second).0);
    let more = memchr::memchr_iter(b' ', after).count() >= 2;
    more && second != b"-" && !first.ends_with(b",") && (names_client || has_port)
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
                let time = &inside[..close];
                if let Some(moment) = Moment::common(time).or_else(|| other_time(time)) {
                    return Ok((&line[..open - 1], moment, &inside[close + 1..]));
                }
                error = LineError::Time;
            }
        }
        from = open + 1;
    }
    Err(error)
}

/// ISO 8601 or seconds since 1970, as servers can be told to write them. A user's name may hold a shorter number.
fn other_time(text: &[u8]) -> Option<Moment> {
    (text.len() >= 9).then(|| Moment::parse(text, None))?
}

fn split_at_space(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == b' ')?;
    Some((&text[..at], &text[at + 1..]))
}

pub(crate) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| b == b' ');
    text.split_at(end.unwrap_or(text.len()))
}

/// Returns the content of a string in quotes, in which a backslash escapes the next byte, and what follows it.
pub(crate) fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
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
pub(crate) fn loosely_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
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

    const REST: &str = r#"[10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 1"#;

    #[test]
    fn the_client_is_found_behind_a_virtual_host_and_in_a_list() {
        for (who, ip, user, layout) in [
            (
                "shop.example:443 203.0.113.7 - anna",
                "203.0.113.7",
                "anna",
                Layouts::VIRTUAL_HOST,
            ),
            (
                "shop.example 203.0.113.7 - anna",
                "203.0.113.7",
                "anna",
                Layouts::VIRTUAL_HOST,
            ),
            (
                "10.0.0.5:80 203.0.113.7 - anna",
                "203.0.113.7",
                "anna",
                Layouts::VIRTUAL_HOST,
            ),
            (
                "localhost:80 client.example - anna",
                "client.example",
                "anna",
                Layouts::VIRTUAL_HOST,
            ),
            (
                "a:80 203.0.113.7, 10.0.0.1 - anna",
                "203.0.113.7",
                "anna",
                Layouts::LIST,
            ),
            (
                "203.0.113.7, 10.0.0.1 - anna",
                "203.0.113.7",
                "anna",
                Layouts::LIST,
            ),
            (
                "203.0.113.7,10.0.0.1 - anna",
                "203.0.113.7",
                "anna",
                Layouts::LIST,
            ),
            (
                "203.0.113.7:5678 - anna",
                "203.0.113.7",
                "anna",
                Layouts::PORT,
            ),
            (
                "[2001:db8::1]:5678 - anna",
                "2001:db8::1",
                "anna",
                Layouts::PORT,
            ),
            (
                "client.example - anna",
                "client.example",
                "anna",
                Layouts::NONE,
            ),
            (
                "client.example ident a b",
                "client.example",
                "a b",
                Layouts::NONE,
            ),
        ] {
            let text = format!("{who} {REST}");
            let line = ClfLine::parse(text.as_bytes()).expect("a line");
            let field = |name| line.field(name).map(String::from_utf8_lossy);
            assert_eq!(field(ClfField::Ip).as_deref(), Some(ip), "{who}");
            assert_eq!(field(ClfField::User).as_deref(), Some(user), "{who}");
            assert!(layout == line.layouts || line.layouts.has(layout), "{who}");
        }
    }

    #[test]
    fn the_time_may_be_iso_or_a_number() {
        for time in ["2000-10-10T13:55:36-07:00", "971211336", "971211336.000"] {
            let text = format!(r#"h - a [b] c [{time}] "GET / HTTP/1.0" 200 1"#);
            let line = ClfLine::parse(text.as_bytes()).expect("a line");
            assert_eq!(line.moment.unix_ns, 971_211_336_000_000_000, "{time}");
        }
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
