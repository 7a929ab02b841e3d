//! Prefixes that log collectors write before the line of the server: syslog, Docker Compose, Kubernetes.

use crate::layouts::Layouts;
use crate::moment::Moment;
use crate::words::split_at_space;

/// Returns the server's own line behind the prefix of a collector, if the line has one.
pub(crate) fn strip(line: &[u8]) -> Option<(&[u8], Layouts)> {
    compose(line)
        .or_else(|| container(line))
        .or_else(|| syslog(line))
}

/// `web-1  | LINE`, as `docker compose logs` prints it.
fn compose(line: &[u8]) -> Option<(&[u8], Layouts)> {
    let (service, rest) = word(line)?;
    let rest = rest.trim_ascii_start().strip_prefix(b"| ")?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    service
        .iter()
        .all(plain)
        .then_some((rest, Layouts::COMPOSE))
}

/// `2026-11-29T23:00:33.1Z stdout F LINE` of the container runtime interface, the same without the stream, as
/// `kubectl logs --timestamps` prints it, and `[pod/NAME/CONTAINER] LINE`, as `kubectl logs --prefix` does.
fn container(line: &[u8]) -> Option<(&[u8], Layouts)> {
    if line.starts_with(b"[pod/") {
        let end = line.iter().position(|&byte| byte == b']')?;
        return Some((line[end + 1..].strip_prefix(b" ")?, Layouts::KUBERNETES));
    }
    let (time, rest) = word(line)?;
    Moment::iso(time)?;
    if let Some(rest) = rest
        .strip_prefix(b"stdout ")
        .or_else(|| rest.strip_prefix(b"stderr "))
    {
        let (tag, rest) = word(rest)?;
        return matches!(tag, b"F" | b"P").then_some((rest, Layouts::KUBERNETES));
    }
    let own = rest.first() == Some(&b'{')
        || word(rest)
            .is_some_and(|(first, _)| crate::address::is_address(crate::address::client(first).0));
    own.then_some((rest, Layouts::KUBERNETES))
}

/// `<13>Nov 29 23:00:33 host tag[1]: LINE`, the same with an ISO 8601 time, and `<13>1 TIME host app pid id - LINE`.
fn syslog(line: &[u8]) -> Option<(&[u8], Layouts)> {
    let rest = match line.strip_prefix(b"<") {
        Some(rest) => {
            let end = rest.iter().take(4).position(|&byte| byte == b'>')?;
            &rest[end + 1..]
        }
        None => line,
    };
    if let Some(rest) = rest.strip_prefix(b"1 ") {
        return Some((structured(rest)?, Layouts::SYSLOG));
    }
    let (first, after) = word(rest)?;
    let after = if Moment::iso(first).is_some() {
        after
    } else {
        // A day of one digit stands behind two spaces.
        crate::moment::month_named(first)?;
        let (day, after) = word(after.trim_ascii_start())?;
        let (time, after) = word(after)?;
        let fits = day.iter().all(u8::is_ascii_digit) && time.len() >= 8 && time[2] == b':';
        fits.then_some(after)?
    };
    let (_host, after) = word(after)?;
    let (tag, after) = word(after)?;
    tag.ends_with(b":").then_some((after, Layouts::SYSLOG))
}

/// Behind the version: time, host, application, process, message id, and structured data or a dash.
fn structured(mut rest: &[u8]) -> Option<&[u8]> {
    let (time, after) = word(rest)?;
    Moment::iso(time)?;
    rest = after;
    for _ in 0..4 {
        rest = word(rest)?.1;
    }
    let rest = if let Some(rest) = rest.strip_prefix(b"- ") {
        rest
    } else {
        let end = rest.windows(2).position(|pair| pair == b"] ")?;
        rest.starts_with(b"[").then_some(&rest[end + 2..])?
    };
    Some(rest.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(rest))
}

/// A word that is not empty.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split_at_space(text).filter(|(word, _)| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_prefix_of_every_collector_is_removed() {
        for (prefix, layout) in [
            ("web-1  | ", Layouts::COMPOSE),
            ("shop_web_1 | ", Layouts::COMPOSE),
            (
                "2026-11-29T23:00:33.123456789Z stdout F ",
                Layouts::KUBERNETES,
            ),
            ("2026-11-29T23:00:33.1+01:00 stderr P ", Layouts::KUBERNETES),
            ("2026-11-29T23:00:33.123456789Z ", Layouts::KUBERNETES),
            ("[pod/web-7d/nginx] ", Layouts::KUBERNETES),
            ("Nov 29 23:00:33 web1 nginx: ", Layouts::SYSLOG),
            ("<190>Nov  9 23:00:33 web1 nginx[12]: ", Layouts::SYSLOG),
            ("2026-11-29T23:00:33+00:00 web1 nginx: ", Layouts::SYSLOG),
            (
                "<190>1 2026-11-29T23:00:33Z web1 nginx 12 - - ",
                Layouts::SYSLOG,
            ),
            (
                "<190>1 2026-11-29T23:00:33Z web1 nginx 12 - [a b=\"c\"] ",
                Layouts::SYSLOG,
            ),
        ] {
            for own in [
                "10.0.0.1 - - [29/Nov/2026:23:00:33 +0000] \"GET / HTTP/1.1\" 200 1",
                "{\"a\":1}",
            ] {
                let line = format!("{prefix}{own}");
                let (rest, found) = strip(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
                assert_eq!(String::from_utf8_lossy(rest), own);
                assert!(found.has(layout), "{line}");
            }
        }
    }

    #[test]
    fn a_line_without_prefix_stays_whole() {
        for line in [
            "client.example - - [29/Nov/2026:23:00:33 +0000] \"GET / HTTP/1.1\" 200 1",
            "http 2018-07-02T22:23:00.186641Z app/lb/5 192.168.131.39:2817 10.0.0.1:80 0 0 0 200 200 34 366 \"GET\"",
            "2015-05-13T23:39:43.945958Z lb 192.168.131.39:2817 10.0.0.1:80 0 0 0 200 200 0 29 \"GET\"",
        ] {
            assert!(strip(line.as_bytes()).is_none(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line: Vec<u8>) {
            let _ = strip(&line);
        }

        #[test]
        fn no_text_panics(line in "(<[0-9]{0,4}>)?(1 )?[A-Za-z0-9:T|\\[\\] -]{0,60}") {
            let _ = strip(line.as_bytes());
        }
    }
}
