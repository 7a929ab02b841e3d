//! Addresses of clients, as logs write them: alone, with a port, or in the list of proxies that `X-Forwarded-For` is.

use crate::layouts::Layouts;
use crate::words::is_number;

/// Returns the client of an address field, and what had to be removed to find it: of a list the first address, without
/// its port, and an IPv4 address without the prefix that maps it into IPv6.
pub(crate) fn client(text: &[u8]) -> (&[u8], Layouts) {
    if is_v4(text) {
        return (text, Layouts::NONE);
    }
    let (first, mut layouts) = first_of_list(text);
    let client = without_port(first).map_or(first, |client| {
        layouts.add(Layouts::PORT);
        client
    });
    (without_mapping(client), layouts)
}

/// Whether the text has the form of an IPv4 or IPv6 address.
pub(crate) fn is_address(text: &[u8]) -> bool {
    is_v4(text) || is_v6(text)
}

/// Whether the text is an address with a port.
pub(crate) fn has_port(text: &[u8]) -> bool {
    without_port(text).is_some()
}

/// Whether the text is a list that begins with an address.
pub(crate) fn is_list(text: &[u8]) -> bool {
    let (first, layouts) = first_of_list(text);
    layouts.has(Layouts::LIST) && is_address(client(first).0)
}

fn first_of_list(text: &[u8]) -> (&[u8], Layouts) {
    if !text.contains(&b',') {
        return (text, Layouts::NONE);
    }
    let parts = || text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let address = parts().find(|part| is_address(without_port(part).unwrap_or(part)));
    let first = address.or_else(|| parts().find(|part| !part.is_empty()));
    (first.unwrap_or(text), Layouts::LIST)
}

/// `10.0.0.1:5678`, `[2001:db8::1]:5678` and `[2001:db8::1]`.
fn without_port(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"[") {
        let end = rest.iter().position(|&byte| byte == b']')?;
        let fits = match &rest[end + 1..] {
            [] => true,
            [b':', port @ ..] => is_number(port),
            _ => false,
        };
        return (fits && is_v6(&rest[..end])).then_some(&rest[..end]);
    }
    let colon = memchr::memrchr(b':', text)?;
    (is_v4(&text[..colon]) && is_number(&text[colon + 1..])).then_some(&text[..colon])
}

fn without_mapping(text: &[u8]) -> &[u8] {
    match text.split_at_checked(7) {
        Some((prefix, v4)) if prefix.eq_ignore_ascii_case(b"::ffff:") && is_v4(v4) => v4,
        _ => text,
    }
}

/// Whether the text has the form of an IPv4 address.
pub(crate) fn is_v4(text: &[u8]) -> bool {
    if !(7..=15).contains(&text.len()) {
        return false;
    }
    let mut dots = 0;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {}
            b'.' if at > 0 && text[at - 1] != b'.' => dots += 1,
            _ => return false,
        }
    }
    dots == 3 && text[text.len() - 1] != b'.'
}

fn is_v6(text: &[u8]) -> bool {
    let zone = text.iter().position(|&byte| byte == b'%');
    let text = &text[..zone.unwrap_or(text.len())];
    let colons = memchr::memchr_iter(b':', text).count();
    let known = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    (2..=7).contains(&colons) && text.len() <= 45 && text.iter().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_client_is_the_first_address_without_its_port() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::FFFF:10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:5678", "10.0.0.1"),
            ("[2001:db8::1]:5678", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1"),
            ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
            ("203.0.113.7:99,10.0.0.1", "203.0.113.7"),
            ("unknown, 203.0.113.7", "203.0.113.7"),
            ("203.0.113.7,", "203.0.113.7"),
            ("client.example", "client.example"),
            ("localhost:80", "localhost:80"),
            ("a, b", "a"),
            (",", ","),
            ("", ""),
        ] {
            let (client, _) = client(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(client), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_address_is_one_with_and_without_port_and_list(v4: std::net::Ipv4Addr, v6: std::net::Ipv6Addr, port: u16) {
            for address in [v4.to_string(), v6.to_string()] {
                prop_assert!(is_address(address.as_bytes()), "{}", address);
                let expected = client(address.as_bytes()).0.to_vec();
                let with_port = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
                prop_assert!(has_port(with_port.as_bytes()));
                for text in [with_port.clone(), format!("{address}, 10.0.0.1"), format!("{with_port},10.0.0.1")] {
                    prop_assert_eq!(client(text.as_bytes()).0, &expected, "{}", text);
                }
            }
        }

        #[test]
        fn no_bytes_panic(text: Vec<u8>) {
            let _ = (client(&text), is_list(&text), has_port(&text));
        }
    }
}
