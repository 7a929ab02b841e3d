//! Lines in Common Log Format, whole and broken.

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
