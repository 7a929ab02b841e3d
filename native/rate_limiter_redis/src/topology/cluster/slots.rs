//! What nodes say about slots, read.

use std::ops::RangeInclusive;

use redis::Value;

use crate::config::Endpoint;

/// Slots, and who has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) slots: RangeInclusive<u16>,
    pub(super) primary: Endpoint,
}

/// Reads the reply to `CLUSTER SLOTS`, as `asked` gave it.
pub(super) fn ranges(reply: Value, asked: &Endpoint) -> Result<Vec<Range>, String> {
    let Value::Array(rows) = reply else {
        return Err(format!("expected slots, got: {reply:?}"));
    };
    let ranges: Vec<_> = rows.iter().filter_map(|row| range(row, asked)).collect();
    if ranges.is_empty() {
        return Err("expected slots that somebody has, got: none".into());
    }
    Ok(ranges)
}

fn range(row: &Value, asked: &Endpoint) -> Option<Range> {
    let Value::Array(row) = row else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = row.as_slice() else {
        return None;
    };
    let [host, Value::Int(port), ..] = primary.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => "",
    };
    Some(Range {
        slots: u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?,
        primary: endpoint(host, u16::try_from(*port).ok()?, asked)?,
    })
}

/// Reads `host:port`, as `from` said it.
pub(super) fn server(address: &str, from: &Endpoint) -> Option<Endpoint> {
    let (host, port) = address.rsplit_once(':')?;
    endpoint(host, port.parse().ok()?, from)
}

/// A server that does not know its own name means the one by which it was found.
fn endpoint(host: &str, port: u16, by: &Endpoint) -> Option<Endpoint> {
    match (host, by) {
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
    fn slots_are_read_as_nodes_tell_them() {
        let asked = Endpoint::tcp("node", 7000);
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
        let range = |slots, host, port| Range {
            slots,
            primary: Endpoint::tcp(host, port),
        };
        let expected = vec![
            range(0..=99, "10.0.0.1", 7001),
            range(100..=16_383, "node", 7002),
            range(5..=6, "node", 7003),
        ];
        assert_eq!(ranges(reply, &asked), Ok(expected));
        assert!(ranges(Value::Array(Vec::new()), &asked).is_err());
        assert!(ranges(Value::Nil, &asked).is_err());
    }

    #[test]
    fn redirections_are_read_as_servers_write_them() {
        let from = Endpoint::tcp("node", 7000);
        let read = |address| server(address, &from);
        assert_eq!(read("10.0.0.1:7001"), Some(Endpoint::tcp("10.0.0.1", 7001)));
        assert_eq!(read("::1:7001"), Some(Endpoint::tcp("::1", 7001)));
        assert_eq!(read(":7001"), Some(Endpoint::tcp("node", 7001)));
        assert_eq!(read("nonsense"), None);
    }
}
