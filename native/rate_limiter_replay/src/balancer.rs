//! Lines of proxies that do not write Common Log Format: Envoy, and the load balancers of Amazon.

use crate::address;
use crate::clf::ClfLine;
use crate::error::LineError;
use crate::moment::Moment;
use crate::words::{is_number, loosely_quoted, quoted, word};

const KINDS: [&[u8]; 6] = [b"http", b"https", b"h2", b"grpcs", b"ws", b"wss"];

/// A line of an Application Load Balancer, or of a Classic one, which lacks the first word:
///
/// ```text
/// https 2026-11-29T23:00:33.1Z app/shop/50dc 203.0.113.7:2817 10.0.0.1:80 0 0 0 200 200 34 366 "GET https://..." "agent"
/// ```
pub(crate) fn amazon(line: &[u8]) -> Option<Result<ClfLine<'_>, LineError>> {
    let (first, rest) = word(line);
    let rest = if KINDS.contains(&first) {
        rest.strip_prefix(b" ")?
    } else {
        line
    };
    let (time, rest) = word(rest);
    let moment = Moment::iso(time)?;
    Some(amazon_fields(moment, rest).ok_or(LineError::Shape))
}

fn amazon_fields(moment: Moment, mut rest: &[u8]) -> Option<ClfLine<'_>> {
    let mut words: [&[u8]; 10] = [b""; 10];
    for slot in &mut words {
        (*slot, rest) = word(rest.strip_prefix(b" ")?);
    }
    let [_balancer, client, _target, _, _, _, status, _, _, sent] = words;
    let (request, rest) = quoted(rest.strip_prefix(b" ")?)?;
    ClfLine::of_proxy(moment, client, request, status, sent, rest)
}

/// A line in Envoy's format, or in that of Istio, which has more words before the numbers:
///
/// ```text
/// [2026-11-29T23:00:33.310Z] "GET /a HTTP/2" 200 - 0 135 3 1 "203.0.113.7" "agent" "request" "authority" "upstream"
/// ```
pub(crate) fn envoy(line: &[u8]) -> Option<ClfLine<'_>> {
    let rest = line.strip_prefix(b"[")?;
    let end = rest.iter().take(48).position(|&byte| byte == b']')?;
    let moment = Moment::iso(&rest[..end])?;
    let (request, rest) = quoted(rest[end + 1..].strip_prefix(b" ")?)?;
    let (status, mut rest) = word(rest.strip_prefix(b" ")?);
    // Flags and reasons, up to the four numbers: bytes received and sent, and two times.
    let sent = loop {
        if let Some((sent, after)) = numbers(rest) {
            rest = after;
            break sent;
        }
        let next = rest.strip_prefix(b" ")?;
        rest = match quoted(next) {
            Some((_, after)) => after,
            None => word(next).1,
        };
    };
    let (forwarded, rest) = loosely_quoted(rest)?;
    let client = if forwarded == b"-" {
        remote(rest).unwrap_or(forwarded)
    } else {
        forwarded
    };
    ClfLine::of_proxy(moment, client, request, status, sent, rest)
}

fn numbers(mut rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words: [&[u8]; 4] = [b""; 4];
    for slot in &mut words {
        (*slot, rest) = word(rest.strip_prefix(b" ")?);
    }
    let [received, sent, took, upstream] = words;
    let fits = is_number(received) && is_number(sent) && is_number(took);
    (fits && (upstream == b"-" || is_number(upstream))).then_some((sent, rest))
}

/// Istio's address of the peer: the fourth word behind the strings.
fn remote(mut rest: &[u8]) -> Option<&[u8]> {
    while let Some((_, after)) = loosely_quoted(rest) {
        rest = after;
    }
    let mut words = rest.split(|&byte| byte == b' ').skip(1);
    let remote = words.nth(3)?;
    address::has_port(remote).then_some(remote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clf::ClfField;
    use proptest::prelude::*;

    fn fields(line: &ClfLine) -> Vec<String> {
        let names = [
            ClfField::Ip,
            ClfField::Method,
            ClfField::Path,
            ClfField::Status,
            ClfField::Bytes,
            ClfField::Agent,
        ];
        let text = |name| line.field(name).map(String::from_utf8_lossy);
        names
            .map(|name| text(name).unwrap_or_default().into_owned())
            .to_vec()
    }

    const ALB: &str = r#"https 2026-11-29T23:00:33.186641Z app/shop/50dc 203.0.113.7:2817 10.0.0.1:80 0.1 0.0 -1 200 200 34 366 "GET https://shop.example:443/a?b HTTP/1.1" "curl/8" ECDHE TLSv1.2"#;
    const CLASSIC: &str = r#"2026-11-29T23:00:33.945958Z shop 203.0.113.7:2817 10.0.0.1:80 0.1 0.0 0.0 200 200 34 366 "GET http://shop.example:80/a?b HTTP/1.1" "curl/8" - -"#;
    const ENVOY: &str = r#"[2026-11-29T23:00:33.310Z] "GET /a?b HTTP/2" 200 - 34 366 226 100 "203.0.113.7,10.0.0.35" "curl/8" "cc21" "shop" "tcp://10.0.2.1:80""#;
    const ISTIO: &str = r#"[2026-11-29T23:00:33.409Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 34 366 3 1 "-" "curl/8" "84d" "shop:8000" "127.0.0.1:80" inbound|80|| 127.0.0.1:41854 10.44.1.27:80 203.0.113.7:37652 outbound"#;

    #[test]
    fn every_format_gives_the_same_fields() {
        let expected = ["203.0.113.7", "GET", "/a", "200", "366", "curl/8"];
        for line in [ALB, CLASSIC] {
            let line = amazon(line.as_bytes()).expect("amazon's").expect("a line");
            assert_eq!(fields(&line), expected);
        }
        for line in [ENVOY, ISTIO] {
            let line = envoy(line.as_bytes()).expect("a line");
            assert_eq!(fields(&line), expected);
            assert_eq!(line.field(ClfField::Referer), None);
        }
    }

    proptest! {
        #[test]
        fn no_damage_panics(at in 0usize..120, byte: u8, cut in 0usize..=200) {
            for line in [ALB, CLASSIC, ENVOY, ISTIO] {
                let mut line = line.as_bytes().to_vec();
                line[at] = byte;
                line.truncate(cut);
                let _ = (amazon(&line), envoy(&line));
            }
        }
    }
}
