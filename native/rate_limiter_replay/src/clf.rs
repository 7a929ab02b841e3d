//! Lines of the Common Log Format, and of the Combined Log Format, which appends two fields.
//!
//! ```text
//! host ident user [day/Mon/year:hh:mm:ss +zzzz] "METHOD /path?query HTTP/1.1" status bytes "referer" "agent"
//! ```

use crate::address;
use crate::error::LineError;
use crate::layouts::Layouts;
use crate::moment::Moment;
use crate::words::{is_number, loosely_quoted, quoted, split_at_space, word};

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
    let has_port = port.is_some_and(is_number);
    let names_client = address::is_address(address::client(second).0);
    let more = memchr::memchr_iter(b' ', after).count() >= 2;
    more && second != b"-" && !first.ends_with(b",") && (names_client || has_port)
}

/// Returns what is before the time, the time, and what is after it. User names may contain brackets and spaces, so the
/// first bracket that opens a valid time counts.
fn split_time(line: &[u8]) -> Result<(&[u8], Moment, &[u8]), LineError> {
    let mut error = LineError::Shape;
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'[', &line[from..]) {
        let open = from + at;
        let inside = &line[open + 1..];
        // The time in brackets has 26 bytes, or some more with a fraction.
        let close = memchr::memchr(b']', &inside[..inside.len().min(48)]);
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

fn is_status(text: &[u8]) -> bool {
    text == b"-" || (text.len() == 3 && text.iter().all(u8::is_ascii_digit))
}

fn is_count(text: &[u8]) -> bool {
    text == b"-" || is_number(text)
}

#[cfg(test)]
mod tests;
