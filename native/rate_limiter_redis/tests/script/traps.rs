//! What goes wrong in Redis where it is not thought of.

use std::time::Duration;

use rate_limiter_core::{Limit, Nanos, Retry, Scale, Snapshot, Tag};
use rate_limiter_distributed::{Call, Charge, Failure, Op, Reply, RequestId};
use rate_limiter_redis::wire;
use redis::Value;

use crate::remote::{meter, usage, Remote};
use crate::rig::Rig;
use crate::server::Server;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const START: u64 = 1_735_689_600 * SECOND;

/// One limit of each algorithm: 10 in 10 seconds.
fn limits() -> Vec<(Tag, Limit)> {
    let per = Duration::from_secs(10);
    let limits = [
        Limit::token_bucket(10, per),
        Limit::sliding_window(10, per),
        Limit::sliding_log(10, per),
        Limit::fixed_window(10, per),
        Limit::fixed_window(10, per).from_first_use(),
    ];
    (0..).zip(limits).collect()
}

fn tags() -> Vec<Tag> {
    limits().iter().map(|(tag, _)| *tag).collect()
}

fn allowed(reply: &Reply) -> bool {
    reply.windows.iter().all(|row| row.retry == Retry::Now)
}

fn remaining(reply: &Reply) -> Vec<u64> {
    reply.windows.iter().map(|row| row.remaining).collect()
}

impl Remote {
    fn take(&mut self, now: u64, tag: Tag, cost: u64) -> Reply {
        self.ask(now, &self.about(Op::Take, "ann", &[tag], cost))
    }

    fn key(&self, tag: Tag) -> String {
        let call = self.about(Op::Take, "ann", &[tag], 1);
        let mut command = Vec::new();
        let packed = wire::encode([&call].into_iter(), None);
        command.extend(packed.args_iter().filter_map(|word| match word {
            redis::Arg::Simple(word) => Some(String::from_utf8_lossy(word).into_owned()),
            _ => None,
        }));
        command.remove(3)
    }

    fn writes(&mut self) -> usize {
        let stats: String = self.run(&["INFO", "commandstats"]);
        let writes = ["cmdstat_set:", "cmdstat_del:"];
        stats
            .lines()
            .filter(|line| writes.iter().any(|write| line.starts_with(write)))
            .count()
    }
}

#[test]
fn numbers_at_the_edge_of_what_a_script_counts_are_exact() {
    let edge = (1 << 52) - 1;
    let limit = Limit::fixed_window(edge, Duration::from_mins(1));
    let mut remote = Remote::new(&[(0, limit.clone())]);
    let memory = Rig::new(&[(0, limit)]);
    for cost in [
        1 << 53,
        (1 << 53) + 1,
        u64::MAX,
        edge + 1,
        edge - 1,
        2,
        1,
        1,
        0,
    ] {
        let row = usage(&remote.take(START, 0, cost).windows[0]);
        assert_eq!(row, memory.at(START).check_one(0, 0, cost), "{cost}");
    }
    let slow = Limit::token_bucket(1, Duration::from_hours(24 * 365)).with_burst(70);
    let fast =
        Limit::token_bucket(1_000_000_000, Duration::from_secs(1)).with_burst(500_000_000_000_000);
    for limit in [slow, fast] {
        let max = meter(0, &limit).max(Scale::ONE);
        remote.open("edge", &[(0, limit.clone())]);
        remote.run::<()>(&["FLUSHALL"]);
        let memory = Rig::new(&[(0, limit)]);
        for (after, cost) in [
            (0, max + 1),
            (0, max - 1),
            (0, 2),
            (0, 1),
            (0, 1),
            (7 * SECOND, 1),
            (DAY, 1),
        ] {
            let row = usage(&remote.take(START + after, 0, cost).windows[0]);
            assert_eq!(
                row,
                memory.at(START + after).check_one(0, 0, cost),
                "{max} {cost}"
            );
        }
    }
}

#[test]
fn a_life_is_set_that_is_no_shorter_than_the_state_counts() {
    let mut limits = limits();
    limits.push((
        9,
        Limit::token_bucket(1, Duration::from_hours(24 * 365)).with_burst(70),
    ));
    let mut remote = Remote::new(&limits);
    for (tag, limit) in limits {
        let cost = limit.limit();
        let call = remote.about(Op::Take, "ann", &[tag], cost);
        let reply = remote.send(&[&call], None).remove(0).expect("an answer");
        let key = remote.key(tag);
        let life: u64 = remote.run(&["PTTL", &key]);
        let counts = reply.windows[0].reset_after.as_millis_ceil();
        // Not a timing: the server may have been slow to tell.
        assert!(life + 60_000 > counts, "{limit:?}: {life} of {counts}");
        assert!(life <= counts + 1_000, "{limit:?}: {life} of {counts}");
    }
}

#[test]
fn who_takes_nothing_writes_nothing() {
    let mut remote = Remote::new(&limits());
    let all = tags();
    let full = remote.about(Op::Take, "ann", &all, 10);
    assert!(allowed(&remote.ask(START, &full)));
    remote.run::<()>(&["CONFIG", "RESETSTAT"]);
    for (op, who, cost) in [
        (Op::Take, "ann", 1),
        (Op::Take, "ann", 11),
        (Op::Take, "ann", 0),
        (Op::Peek, "ann", 1),
        (Op::Take, "bob", 11),
        (Op::Take, "bob", 0),
        (Op::Peek, "bob", 1),
        (Op::Refund, "bob", 1),
        (Op::Refund, "ann", 0),
        (Op::Reset, "bob", 0),
    ] {
        for tag in &all {
            let call = remote.about(op, who, &[*tag], cost);
            remote.ask(START, &call);
            assert_eq!(remote.writes(), 0, "{op:?} {who} {cost} of {tag}");
        }
    }
    // One window that denies keeps all others from taking.
    remote.run::<()>(&["FLUSHALL"]);
    remote.take(START, 2, 10);
    remote.run::<()>(&["CONFIG", "RESETSTAT"]);
    let call = remote.about(Op::Take, "ann", &all, 1);
    assert_eq!(remaining(&remote.ask(START, &call)), [10, 10, 0, 10, 10]);
    assert_eq!(remote.writes(), 0);
}

#[test]
fn what_holds_something_else_is_named_and_left_alone_and_others_go_on() {
    let mut remote = Remote::new(&limits());
    for tag in tags() {
        for of_another in [&["HSET", "field", "value"][..], &["SET", "something else"]] {
            remote.run::<()>(&["FLUSHALL"]);
            let key = remote.key(tag);
            let command = [&of_another[..1], &[&key], &of_another[1..]].concat();
            remote.run::<()>(&command);
            let before: Vec<u8> = remote.run(&["DUMP", &key]);
            for op in [Op::Take, Op::Peek, Op::Refund, Op::Reset] {
                let calls = [
                    remote.about(op, "bob", &[tag], 1),
                    remote.about(op, "ann", &tags(), 1),
                    remote.about(op, "ann", &[(tag + 1) % 5], 1),
                    remote.about(op, "ann", &[tag], 1),
                ];
                let calls: Vec<&Call> = calls.iter().collect();
                let answers = remote.send(&calls, Some(START));
                let foreign = Err(Failure::Foreign(key.as_str().into()));
                assert_eq!(answers[1], foreign);
                assert_eq!(answers[3], foreign);
                assert!(answers[0].is_ok() && answers[2].is_ok());
            }
            let after: Vec<u8> = remote.run(&["DUMP", &key]);
            assert_eq!(before, after);
        }
    }
}

#[test]
fn what_a_clock_that_was_ahead_has_written_counts_as_of_now() {
    for ahead in [1_000, SECOND, DAY, 400 * DAY] {
        for tag in tags() {
            let mut remote = Remote::new(&limits());
            // In two parts, so that there is something to move and something to keep.
            remote.take(START - 3 * SECOND, tag, 1);
            assert!(allowed(&remote.take(START + ahead, tag, 9)));
            let denied = remote.take(START, tag, 10);
            let Retry::After(wait) = denied.windows[0].retry else {
                panic!("expected that what was taken still counts, got: {denied:?}");
            };
            // A period, and a sub-window of it.
            assert!(wait <= Nanos(11 * SECOND), "{tag}: {wait:?}");
            assert!(denied.windows[0].remaining <= 1);
            assert!(
                !allowed(&remote.take(START + wait.0 - 1_000, tag, 10)),
                "{tag}, {ahead} ahead: not before"
            );
            assert!(
                allowed(&remote.take(START + wait.0, tag, 10)),
                "{tag}, {ahead} ahead: and then yes"
            );
        }
    }
}

#[test]
fn nodes_that_know_different_limits_neither_forget_nor_lock_out() {
    let (old, new) = (Duration::from_secs(10), Duration::from_secs(7));
    for (tag, limit) in limits() {
        let changed = Limit::new(limit.limit(), new, limit.algorithm());
        let mut remote = Remote::new(&[(tag, limit.clone())]);
        let (mut admitted, mut now) = (0, START);
        // Two thousand seconds, of which the faster limit admits ten in seven.
        for step in 0..20_000_u64 {
            let known = if step % 2 == 0 { &limit } else { &changed };
            remote.update(tag, known);
            admitted += u64::from(allowed(&remote.take(now, tag, 1)));
            now += SECOND / 10;
        }
        let (slow, fast) = (10 * 2_000 / old.as_secs(), 10 * 2_000 / new.as_secs());
        let least = if matches!(tag, 0 | 2) { slow } else { slow / 2 };
        // Around the boundary of a fixed window twice the limit can pass.
        assert!(admitted <= fast + 20, "{limit:?}: {admitted}");
        assert!(admitted >= least, "{limit:?}: {admitted}");
    }
}

#[test]
fn a_call_with_a_request_id_is_charged_once() {
    let mut remote = Remote::new(&limits());
    let all = tags();
    let named = |remote: &Remote, id: &str, op: Op, cost: u64| {
        let mut call = remote.about(op, "ann", &all, cost);
        call.request_id = Some(RequestId {
            id: id.as_bytes().into(),
            keep: Nanos(60 * SECOND),
        });
        call
    };
    let first = named(&remote, "a", Op::Take, 6);
    let again = [&first, &first, &first];
    for answer in remote.send(&again, Some(START)) {
        assert_eq!(remaining(&answer.expect("an answer")), [4; 5]);
    }
    assert!(allowed(&remote.ask(START, &first)));
    // One that was denied is asked again, and not remembered.
    let second = named(&remote, "b", Op::Take, 6);
    assert!(!allowed(&remote.ask(START, &second)));
    remote.ask(START, &remote.about(Op::Reset, "ann", &all, 0));
    assert_eq!(remaining(&remote.ask(START, &second)), [4; 5]);
    assert_eq!(remaining(&remote.ask(START, &second)), [4; 5]);
    let keys: Vec<String> = remote.run(&["KEYS", "*:!*"]);
    assert_eq!(keys.len(), 2);
    for key in keys {
        let life: u64 = remote.run(&["PTTL", &key]);
        assert!(life >= 60_000, "{key}: {life}");
    }
    // One that costs nothing asks without taking, and leaves its name to the call that takes.
    let asks = named(&remote, "c", Op::Take, 0);
    assert!(allowed(&remote.ask(START, &asks)));
    let takes = named(&remote, "c", Op::Take, 1);
    assert_eq!(remaining(&remote.ask(START, &takes)), [3; 5]);
    // Another id has requests of its own.
    let mut other = named(&remote, "b", Op::Take, 6);
    other.key = remote.about(Op::Take, "bob", &all, 1).key;
    assert_eq!(remaining(&remote.ask(START, &other)), [4; 5]);
}

#[test]
fn what_was_lost_is_put_back_and_never_less_than_is_stored() {
    for tag in tags() {
        let mut remote = Remote::new(&limits());
        let before = remote.take(START, tag, 4).windows.remove(0);
        let knows = |remote: &Remote| {
            let mut call = remote.about(Op::Take, "ann", &[tag], 1);
            call.windows[0].charge = Some(Charge {
                at_least: Some(before.state.clone()),
                taken: None,
            });
            call
        };
        // Nothing was lost.
        let call = knows(&remote);
        assert_eq!(remaining(&remote.ask(START, &call)), [5], "{tag}");
        assert_eq!(remaining(&remote.ask(START, &call)), [4], "{tag}");
        remote.run::<()>(&["FLUSHALL"]);
        assert_eq!(remaining(&remote.ask(START, &call)), [5], "{tag}");
        assert_eq!(remaining(&remote.take(START, tag, 0)), [5], "{tag}");
    }
}

#[test]
fn what_nodes_let_through_meanwhile_is_charged_before_the_call_also_if_that_is_denied() {
    for tag in tags() {
        let mut remote = Remote::new(&limits());
        let taken = remote.take(START, tag, 3).windows.remove(0).state;
        let charging = |remote: &Remote, cost| {
            let mut call = remote.about(Op::Take, "ann", &[tag], cost);
            call.windows[0].charge = Some(Charge {
                at_least: None,
                taken: Some(taken.clone()),
            });
            call
        };
        // As if another node had let through the same.
        let call = charging(&remote, 1);
        assert_eq!(remaining(&remote.ask(START, &call)), [3], "{tag}");
        let call = charging(&remote, 4);
        assert!(!allowed(&remote.ask(START, &call)), "{tag}");
        assert_eq!(remaining(&remote.take(START, tag, 0)), [0], "{tag}");
        assert!(allowed(&remote.take(START + 22 * SECOND, tag, 10)), "{tag}");
    }
}

#[test]
fn a_state_says_what_it_is_in_a_form_that_can_travel() {
    let mut remote = Remote::new(&limits());
    let mut states = Vec::new();
    for tag in tags() {
        remote.take(START, tag, 1);
        states.push(
            remote
                .take(START + 2 * SECOND, tag, 2)
                .windows
                .remove(0)
                .state,
        );
    }
    let second = Nanos(SECOND);
    let expected = [
        Snapshot::Bucket {
            debt: Nanos(2 * SECOND),
        },
        Snapshot::Window {
            width: second,
            newest: (START + 2 * SECOND) / SECOND,
            counts: vec![2, 0, 1],
        },
        Snapshot::Log {
            stamps: vec![
                Nanos(START),
                Nanos(START + 2 * SECOND),
                Nanos(START + 2 * SECOND),
            ],
        },
        Snapshot::Fixed {
            start: Nanos(START),
            per: Nanos(10 * SECOND),
            used: 3,
        },
        Snapshot::Fixed {
            start: Nanos(START),
            per: Nanos(10 * SECOND),
            used: 3,
        },
    ];
    assert_eq!(states, expected);
}

#[test]
fn a_log_of_ten_thousand_entries_is_cut_where_it_should_be() {
    let limit = Limit::sliding_log(10_000, Duration::from_secs(10));
    let mut remote = Remote::new(&[(0, limit)]);
    let call = remote.about(Op::Take, "ann", &[0], 1);
    for part in 0..100 {
        let now = START + part * 100_000_000;
        // A hundred moments of their own.
        for at in 0..100 {
            assert!(allowed(&remote.ask(now + at * 1_000, &call)));
        }
    }
    assert!(!allowed(&remote.ask(START + 10 * SECOND - 1_000, &call)));
    let reply = remote.take(START + 10 * SECOND + 50_000, 0, 0);
    assert_eq!(remaining(&reply), [51]);
    let refund = remote.about(Op::Refund, "ann", &[0], 172);
    assert_eq!(
        remaining(&remote.ask(START + 10 * SECOND + 50_000, &refund)),
        [51 + 172]
    );
    assert_eq!(
        remaining(&remote.take(START + 10 * SECOND + 50_000, 0, 223)),
        [0]
    );
}

#[test]
fn more_keys_than_lua_takes_arguments_at_once_are_decided_in_one_run() {
    let mut remote = Remote::new(&limits());
    let foreign =
        String::from_utf8(remote.about(Op::Take, "9000", &[0], 1).key.to_vec()).expect("plain");
    remote.run::<()>(&["HSET", &format!("{foreign}:w0~b"), "a", "b"]);
    let calls: Vec<Call> = (0..10_000)
        .map(|number| remote.about(Op::Take, &(number % 9_999).to_string(), &[0], 1))
        .collect();
    let answers = remote.send(&calls.iter().collect::<Vec<_>>(), Some(START));
    for (number, answer) in answers.iter().enumerate() {
        match answer {
            Ok(reply) => assert_eq!(remaining(reply), [if number == 9_999 { 8 } else { 9 }]),
            Err(failure) => assert!(matches!(failure, Failure::Foreign(_)) && number == 9_000),
        }
    }
}

#[test]
fn a_server_that_is_full_writes_all_or_nothing() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let mut remote = Remote::on(server, &limits());
    remote.take(START, 0, 5);
    remote.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let calls = [
        remote.about(Op::Reset, "ann", &[0], 0),
        remote.about(Op::Take, "ann", &[1, 2, 3], 1),
    ];
    let reply: Result<Value, _> =
        wire::encode(calls.iter(), Some(Nanos(START))).query(&mut remote.connection);
    assert_eq!(reply.expect_err("no memory").code(), Some("OOM"));
    // Who takes nothing is answered, and nothing was reset.
    assert_eq!(remaining(&remote.take(START, 0, 0)), [5]);
    remote.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    let keys: usize = remote.run(&["DBSIZE"]);
    assert_eq!(keys, 1);
}

#[test]
fn a_reply_that_is_none_has_every_call_lost() {
    let remote = Remote::new(&limits());
    let calls = [
        remote.about(Op::Take, "ann", &[0], 1),
        remote.about(Op::Peek, "ann", &tags(), 1),
    ];
    for reply in [
        Value::Nil,
        Value::Array(vec![]),
        Value::Array(vec![Value::Int(1), Value::BulkString(b"AA".to_vec())]),
        Value::Array(vec![
            Value::Int(1),
            Value::BulkString(b"A".to_vec()),
            Value::BulkString(b"?".to_vec()),
        ]),
    ] {
        let answers = wire::decode(calls.iter(), &reply);
        assert_eq!(
            answers,
            [Err(Failure::Lost), Err(Failure::Lost)],
            "{reply:?}"
        );
    }
}

/// What a key takes in all: what the server uses without any, and with so many that its tables are full. A key has 22
/// bytes, and is charged so often, a tenth of a second apart.
fn bytes_a_key(limit: Limit, units: u64, times: u64) -> u64 {
    const KEYS: u64 = 65_500;
    const BATCH: u64 = 100;
    let mut remote = Remote::new(&[(0, limit)]);
    // On a slow machine it would keep what it was told.
    remote.run::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    // With a connection that has not sent anything yet: what the server holds for one is no part of a key.
    let used = |remote: &mut Remote| -> u64 {
        remote.reconnect();
        let info: String = remote.run(&["INFO", "memory"]);
        let used = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        used.and_then(|bytes| bytes.parse().ok()).expect("a number")
    };
    let windows = remote.about(Op::Take, "x", &[0], 1).windows;
    let call = |number: u64| Call {
        key: format!("rl:{{a:u{number:09}}}").into_bytes().into(),
        op: Op::Take,
        cost: units,
        scale: Scale::ONE,
        windows: windows.clone(),
        request_id: None,
    };
    let before = used(&mut remote);
    for time in 0..times {
        for batch in 0..KEYS / BATCH {
            let calls: Vec<Call> = (0..BATCH)
                .map(|number| call(batch * BATCH + number))
                .collect();
            let now = START + time * 100_000_000;
            for answer in remote.send(&calls.iter().collect::<Vec<_>>(), Some(now)) {
                assert!(allowed(&answer.expect("an answer")));
            }
        }
    }
    let (after, keys): (u64, u64) = (used(&mut remote), remote.run(&["DBSIZE"]));
    assert_eq!(keys, KEYS);
    let any: String = remote.run(&["RANDOMKEY"]);
    assert_eq!(any.len(), 22, "{any}");
    (after - before) / KEYS
}

#[test]
fn a_key_takes_little_of_the_servers_memory() {
    let second = Duration::from_secs(1);
    let bucket = bytes_a_key(Limit::token_bucket(100, second).with_burst(200), 1, 1);
    let one = bytes_a_key(Limit::sliding_window(100, second), 1, 1);
    let all = bytes_a_key(Limit::sliding_window(100, second), 10, 10);
    println!("bytes a key: {bucket} bucket; window of 10: {one} with one sub-window in use, {all} with all");
    assert!(bucket <= 150, "{bucket}");
    assert!(one <= 150, "{one}");
    // The server's allocator has no size between this and 144.
    assert!(all <= 162, "{all}");
}
