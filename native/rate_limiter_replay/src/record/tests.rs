//! Lines of each format, and what is read of them.

use super::*;

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
        about: vec![
            part(Some(ClfField::Path), &["path"]),
            part(Some(ClfField::Status), &["status", "code"]),
        ],
    })
    .expect("few names")
}

fn read(reader: &mut RecordReader, line: &[u8]) -> Result<Record, LineError> {
    reader
        .read(0, line)
        .map(|record| record.expect("no header"))
}

fn parts(reader: &RecordReader) -> Vec<Option<String>> {
    key::parts(reader.key())
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

    let clf = read(&mut reader, CLF).expect("a record");
    assert_eq!(parts(&reader), expected);
    let line = br#"{"ts":1431857103,"client":{"ip":"10.0.0.1"},"user":null,"path":"\/a?b=1","bytes":"77"}"#;
    let json = read(&mut reader, line).expect("a record");
    assert_eq!(parts(&reader), expected);
    assert_eq!(clf, json);
    assert_eq!((clf.cost, clf.has_key), (77, true));
}

#[test]
fn what_is_reported_of_a_line_is_apart_from_its_id() {
    let mut reader = reader(vec![part(Some(ClfField::Ip), &["addr"])], None);
    let kind = |reader: &RecordReader| -> Vec<Option<String>> {
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let parts = key::parts(reader.kind()).into_iter();
        parts.map(|part| part.map(text)).collect()
    };
    read(&mut reader, CLF).expect("a record");
    let expected = [Some("/a".to_owned()), Some("200".to_owned())];
    assert_eq!(kind(&reader), expected);
    assert_eq!(parts(&reader), [Some("10.0.0.1".to_owned())]);
    let line = br#"{"ts":1431857103,"addr":"10.0.0.1","path":"/a?b=1","code":200}"#;
    read(&mut reader, line).expect("a record");
    assert_eq!(kind(&reader), expected);
    // A line is judged also where its path is missing or no text.
    let line = br#"{"ts":1431857103,"addr":"10.0.0.1","path":["/a"]}"#;
    read(&mut reader, line).expect("a record");
    assert_eq!(kind(&reader), [None, None]);
}

#[test]
fn a_line_without_any_part_has_no_key() {
    let mut reader = reader(vec![part(Some(ClfField::User), &["user"])], None);
    assert!(!read(&mut reader, CLF).expect("a record").has_key);
    for user in ["", r#","user":"""#, r#","user":"-""#, r#","user":null"#] {
        let line = format!(r#"{{"ts":1431857103{user}}}"#);
        let record = read(&mut reader, line.as_bytes()).expect("a record");
        assert!(!record.has_key, "{line}");
    }
}

#[test]
fn a_broken_line_returns_its_error() {
    let mut reader = reader(vec![part(None, &["user"])], Some(part(None, &["cost"])));
    for (line, expected) in [
        (CLF, LineError::NoField),
        (br#"{"ts":1431857103,"user":["a"]}"#, LineError::Nested),
        (br#"{"ts":"today","user":"a"}"#, LineError::Time),
        (br#"{"user":"a"}"#, LineError::NoTime),
        (br#"{"ts":null,"user":"a"}"#, LineError::NoTime),
        (
            br#"{"ts":1431857103,"user":"a","cost":1.5}"#,
            LineError::Cost,
        ),
        (
            br#"{"ts":1431857103,"user":"a","cost":-1}"#,
            LineError::Cost,
        ),
        (br#"{"ts":1431857103,"user":"a""#, LineError::Json),
    ] {
        let text = String::from_utf8_lossy(line);
        assert_eq!(read(&mut reader, line).err(), Some(expected), "{text}");
    }
}

#[test]
fn a_duration_is_no_time() {
    let mut reader = reader(vec![part(None, &["user"])], None);
    for (line, expected) in [
        (
            r#"{"time":0.003,"ts":1431857103,"user":"a"}"#,
            Ok(1_431_857_103),
        ),
        (
            r#"{"time":"0.003","ts":"2015-05-17T10:05:03Z","user":"a"}"#,
            Ok(1_431_857_103),
        ),
        (r#"{"time":0.003,"user":"a"}"#, Err(LineError::Time)),
        (r#"{"time":99999999,"user":"a"}"#, Err(LineError::Time)),
        (r#"{"time":100000000,"user":"a"}"#, Ok(100_000_000)),
        (
            r#"{"time":"1971-01-01T00:00:00Z","user":"a"}"#,
            Ok(31_536_000),
        ),
    ] {
        let record = read(&mut reader, line.as_bytes());
        let seconds = record.map(|record| record.moment.unix_ns / 1_000_000_000);
        assert_eq!(seconds, expected, "{line}");
    }
}

#[test]
fn a_collector_may_wrap_a_line_of_either_format() {
    let own = [
        String::from_utf8(CLF.to_vec()).expect("text"),
        r#"{"ts":1431857103,"addr":"10.0.0.1"}"#.to_owned(),
    ];
    for own in own {
        let quoted = serde_json::to_string(&format!("{own}\n")).expect("JSON");
        for line in [
            format!(r#"{{"log":{quoted},"stream":"stdout","time":"2026-11-29T23:00:33.1Z"}}"#),
            format!(r#"{{"MESSAGE":{quoted},"__REALTIME_TIMESTAMP":"1764457233000000"}}"#),
            format!("2026-11-29T23:00:33.123456789Z stdout F {own}"),
            format!("<190>Nov 29 23:00:33 web1 nginx: {own}"),
            format!("web-1  | {own}"),
        ] {
            let mut reader = reader(vec![part(Some(ClfField::Ip), &["addr"])], None);
            let record = read(&mut reader, line.as_bytes()).expect("a record");
            assert_eq!(record.moment.unix_ns, 1_431_857_103_000_000_000, "{line}");
            assert_eq!(parts(&reader), [Some("10.0.0.1".to_owned())], "{line}");
            assert_ne!(record.layouts, Layouts::NONE);
        }
    }
}

#[test]
fn hex_escapes_of_nginx_are_read() {
    let mut reader = reader(vec![part(None, &["agent"])], None);
    let line = br#"{"time":"2015-05-17T10:05:03Z","agent":"a \x22b\x22"}"#;
    read(&mut reader, line).expect("a record");
    assert_eq!(parts(&reader), [Some(r#"a "b""#.to_owned())]);
}

#[test]
fn another_encoding_and_other_line_ends_are_named() {
    let mut reader = reader(vec![part(Some(ClfField::Ip), &["ip"])], None);
    let text = String::from_utf8_lossy(CLF);
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read(&mut reader, &utf16), Err(LineError::Utf16));
    let line = format!("{text}\r{text}");
    assert_eq!(
        read(&mut reader, line.as_bytes()),
        Err(LineError::CarriageReturns)
    );
}

#[test]
fn long_parts_are_cut_but_stay_apart() {
    let mut reader = reader(vec![part(None, &["user"])], None);
    let mut keys = Vec::new();
    for last in ["a", "b"] {
        let line = format!(
            r#"{{"ts":1431857103,"user":"{}{last}"}}"#,
            "x".repeat(100_000)
        );
        read(&mut reader, line.as_bytes()).expect("a record");
        keys.push(reader.key().to_vec());
    }
    assert_ne!(keys[0], keys[1]);
    assert!(keys[0].len() < 300);
}
