//! Parses what nodes report about slots.

use std::ops::RangeInclusive;

use redis::Value;

use crate::config::Endpoint;

/// Slots with their owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotRange {
    pub(super) slots: RangeInclusive<u16>,
    pub(super) primary: Endpoint,
    /// The host name of the primary, if it announces one beside its address.
    pub(super) host_name: Option<Box<str>>,
}

/// Parses the reply to `CLUSTER SLOTS` of the node at `from`.
pub(super) fn ranges(reply: Value, from: &Endpoint) -> Result<Vec<SlotRange>, String> {
    let Value::Array(rows) = reply else {
        return Err(format!("expected slots, got: {reply:?}"));
    };
    let ranges: Vec<_> = rows.iter().filter_map(|row| range(row, from)).collect();
    if ranges.is_empty() {
        return Err("expected slots with an owner, got: none".into());
    }
    Ok(ranges)
}

fn range(row: &Value, from: &Endpoint) -> Option<SlotRange> {
    let Value::Array(row) = row else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = row.as_slice() else {
        return None;
    };
    let [host, Value::Int(port), rest @ ..] = primary.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(_) | Value::SimpleString(_) => text(host)?,
        _ => "",
    };
    Some(SlotRange {
        slots: u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?,
        primary: at(host, u16::try_from(*port).ok()?, from)?,
        host_name: rest.get(1).and_then(host_name),
    })
}

/// Finds the host name among the further networking data of a node, which Redis 7 reports as names and values.
fn host_name(networking: &Value) -> Option<Box<str>> {
    let Value::Array(words) = networking else {
        return None;
    };
    let pairs = words.chunks_exact(2);
    let mut named = pairs.filter(|pair| text(&pair[0]) == Some("hostname"));
    let name = text(&named.next()?[1])?;
    (!name.is_empty()).then(|| name.into())
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Parses `host:port` from a redirection by the node at `from`.
pub(super) fn endpoint(address: &str, from: &Endpoint) -> Option<Endpoint> {
    let (host, port) = address.rsplit_once(':')?;
    at(host, port.parse().ok()?, from)
}

/// An empty host means the node itself, under the name by which it was reached.
fn at(host: &str, port: u16, from: &Endpoint) -> Option<Endpoint> {
    match (host, from) {
        ("" | "?", Endpoint::Tcp { host, .. }) => Some(Endpoint::tcp(host, port)),
        ("" | "?", Endpoint::Unix(_)) => None,
        _ => Some(Endpoint::tcp(host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn slot_ranges_are_parsed_with_and_without_a_host() {
        let from = Endpoint::tcp("node", 7000);
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let row = |first, last, primary| {
            let replica = node(text("10.0.0.9"), 7009);
            Value::Array(vec![Value::Int(first), Value::Int(last), primary, replica])
        };
        let reply = Value::Array(vec![
            row(0, 99, node(text("10.0.0.1"), 7001)),
            row(100, 16_383, node(text(""), 7002)),
            row(5, 6, node(Value::Nil, 7003)),
        ]);
        let range = |slots, host, port| SlotRange {
            slots,
            primary: Endpoint::tcp(host, port),
            host_name: None,
        };
        let expected = vec![
            range(0..=99, "10.0.0.1", 7001),
            range(100..=16_383, "node", 7002),
            range(5..=6, "node", 7003),
        ];
        assert_eq!(ranges(reply, &from), Ok(expected));
        assert!(ranges(Value::Array(Vec::new()), &from).is_err());
        assert!(ranges(Value::Nil, &from).is_err());
    }

    #[test]
    fn the_host_name_of_a_node_is_parsed() {
        let words = |words: &[&str]| Value::Array(words.iter().map(|word| text(word)).collect());
        let row = |networking| {
            let node = vec![text("10.0.0.1"), Value::Int(7001), text("id"), networking];
            Value::Array(vec![Value::Int(0), Value::Int(9), Value::Array(node)])
        };
        let read = |networking| {
            let reply = Value::Array(vec![row(networking)]);
            ranges(reply, &Endpoint::tcp("node", 7000))
                .unwrap()
                .remove(0)
                .host_name
        };
        let name = Some(Box::from("a.example"));
        assert_eq!(read(words(&["hostname", "a.example"])), name);
        assert_eq!(
            read(words(&["ip", "hostname", "hostname", "a.example"])),
            name
        );
        for without in [
            words(&[]),
            words(&["hostname", ""]),
            words(&["hostname"]),
            Value::Nil,
        ] {
            assert_eq!(read(without), None);
        }
    }

    #[test]
    fn the_address_of_a_redirection_is_parsed() {
        let from = Endpoint::tcp("node", 7000);
        let read = |address| endpoint(address, &from);
        assert_eq!(read("10.0.0.1:7001"), Some(Endpoint::tcp("10.0.0.1", 7001)));
        assert_eq!(read("::1:7001"), Some(Endpoint::tcp("::1", 7001)));
        assert_eq!(read(":7001"), Some(Endpoint::tcp("node", 7001)));
        assert_eq!(read("nonsense"), None);
    }
}
