//! Cases in which a naive script would be wrong.

use std::time::Duration;

use rate_limiter_core::{Limit, Nanos, Retry, Scale, Tag};
use rate_limiter_distributed::{Call, Failure, Op};
use rate_limiter_redis::wire;
use redis::Value;

use crate::fixture::{allowed, limits, remaining, tags, DAY, SECOND, START};
use crate::redis_limiter::{meter, RedisLimiter};
use crate::rig::Rig;
use crate::servers::Server;

impl RedisLimiter {
    pub(crate) fn key(&self, tag: Tag) -> String {
        let call = self.build(Op::Take, "ann", &[tag], 1);
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
fn numbers_at_the_limit_of_the_script_are_exact() {
    let edge = (1 << 52) - 1;
    let limit = Limit::fixed_window(edge, Duration::from_mins(1));
    for mut limiter in RedisLimiter::each(&[(0, limit.clone())]) {
        let memory = Rig::new(&[(0, limit.clone())]);
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
            let row = limiter.take(START, 0, cost).windows[0].usage;
            assert_eq!(row, memory.at(START).check_one(0, 0, cost), "{cost}");
        }
        let slow = Limit::token_bucket(1, Duration::from_hours(24 * 365)).with_burst(70);
        let fast = Limit::token_bucket(1_000_000_000, Duration::from_secs(1))
            .with_burst(500_000_000_000_000);
        for limit in [slow, fast] {
            let max = meter(0, &limit).max(Scale::ONE);
            limiter.open("edge", &[(0, limit.clone())]);
            limiter.run::<()>(&["FLUSHALL"]);
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
                let row = limiter.take(START + after, 0, cost).windows[0].usage;
                assert_eq!(
                    row,
                    memory.at(START + after).check_one(0, 0, cost),
                    "{max} {cost}"
                );
            }
        }
    }
}

#[test]
fn a_key_lives_as_long_as_its_state_counts() {
    let mut limits = limits();
    limits.push((
        9,
        Limit::token_bucket(1, Duration::from_hours(24 * 365)).with_burst(70),
    ));
    for mut limiter in RedisLimiter::each(&limits) {
        for (tag, limit) in &limits {
            let cost = limit.limit();
            let call = limiter.build(Op::Take, "ann", &[*tag], cost);
            let reply = limiter.send(&[&call], None).remove(0).expect("an answer");
            let key = limiter.key(*tag);
            let lifetime: u64 = limiter.run(&["PTTL", &key]);
            let counts = reply.windows[0].usage.reset_after.as_millis_ceil();
            // A large allowance, since the server may reply late.
            assert!(
                lifetime + 60_000 > counts,
                "{limit:?}: {lifetime} of {counts}"
            );
            assert!(
                lifetime <= counts + 1_000,
                "{limit:?}: {lifetime} of {counts}"
            );
        }
    }
}

#[test]
fn a_call_that_takes_nothing_writes_nothing() {
    for mut limiter in RedisLimiter::each(&limits()) {
        let all = tags();
        let full = limiter.build(Op::Take, "ann", &all, 10);
        assert!(allowed(&limiter.send_one(START, &full)));
        limiter.run::<()>(&["CONFIG", "RESETSTAT"]);
        for (op, id, cost) in [
            (Op::Take, "ann", 1),
            (Op::Take, "ann", 11),
            (Op::Take, "ann", 0),
            (Op::Peek, "ann", 1),
            (Op::Take, "bob", 11),
            (Op::Take, "bob", 0),
            (Op::Peek, "bob", 1),
            (Op::Refund, "bob", 1),
            (Op::Refund, "ann", 0),
        ] {
            for tag in &all {
                let call = limiter.build(op, id, &[*tag], cost);
                limiter.send_one(START, &call);
                assert_eq!(limiter.writes(), 0, "{op:?} {id} {cost} of {tag}");
            }
        }
        // A denial by one window takes nothing from the others.
        limiter.run::<()>(&["FLUSHALL"]);
        limiter.take(START, 2, 10);
        limiter.run::<()>(&["CONFIG", "RESETSTAT"]);
        let call = limiter.build(Op::Take, "ann", &all, 1);
        assert_eq!(
            remaining(&limiter.send_one(START, &call)),
            [10, 10, 0, 10, 10]
        );
        assert_eq!(limiter.writes(), 0);
    }
}

#[test]
fn a_key_of_another_program_is_reported_and_unchanged_and_other_calls_are_answered() {
    for mut limiter in RedisLimiter::each(&limits()) {
        for tag in tags() {
            for foreign in [&["HSET", "field", "value"][..], &["SET", "something else"]] {
                limiter.run::<()>(&["FLUSHALL"]);
                let key = limiter.key(tag);
                let command = [&foreign[..1], &[&key], &foreign[1..]].concat();
                limiter.run::<()>(&command);
                let before: Vec<u8> = limiter.run(&["DUMP", &key]);
                for op in [Op::Take, Op::Peek, Op::Refund, Op::Reset] {
                    let calls = [
                        limiter.build(op, "bob", &[tag], 1),
                        limiter.build(op, "ann", &tags(), 1),
                        limiter.build(op, "ann", &[(tag + 1) % 5], 1),
                        limiter.build(op, "ann", &[tag], 1),
                    ];
                    let calls: Vec<&Call> = calls.iter().collect();
                    let answers = limiter.send(&calls, Some(START));
                    let foreign = Err(Failure::Foreign(key.as_str().into()));
                    assert_eq!(answers[1], foreign);
                    assert_eq!(answers[3], foreign);
                    assert!(answers[0].is_ok() && answers[2].is_ok());
                }
                let after: Vec<u8> = limiter.run(&["DUMP", &key]);
                assert_eq!(before, after);
            }
        }
    }
}

#[test]
fn usage_written_by_a_clock_that_was_ahead_counts_as_of_now() {
    for ahead in [1_000, SECOND, DAY, 400 * DAY] {
        for tag in tags() {
            for mut limiter in RedisLimiter::each(&limits()) {
                // One part of the usage is in the past, and one in the future.
                limiter.take(START - 3 * SECOND, tag, 1);
                assert!(allowed(&limiter.take(START + ahead, tag, 9)));
                let denied = limiter.take(START, tag, 10);
                let Retry::After(wait) = denied.windows[0].usage.retry else {
                    panic!("expected a denial, got: {denied:?}");
                };
                // At most a period and a sub-window.
                assert!(wait <= Nanos(11 * SECOND), "{tag}: {wait:?}");
                assert!(denied.windows[0].usage.remaining <= 1);
                assert!(
                    !allowed(&limiter.take(START + wait.0 - 1_000, tag, 10)),
                    "{tag}, {ahead} ahead: expected a denial before"
                );
                assert!(
                    allowed(&limiter.take(START + wait.0, tag, 10)),
                    "{tag}, {ahead} ahead: expected an admission then"
                );
            }
        }
    }
}

#[test]
fn nodes_with_different_limits_neither_forget_usage_nor_lock_out_callers() {
    let (old, new) = (Duration::from_secs(10), Duration::from_secs(7));
    for (tag, limit) in limits() {
        let changed = Limit::new(limit.limit(), new, limit.algorithm());
        for mut limiter in RedisLimiter::each(&[(tag, limit.clone())]) {
            let (mut admitted, mut now) = (0, START);
            // For two thousand seconds. The faster limit admits ten calls in seven seconds.
            for step in 0..20_000_u64 {
                let known = if step % 2 == 0 { &limit } else { &changed };
                limiter.update(tag, known);
                admitted += u64::from(allowed(&limiter.take(now, tag, 1)));
                now += SECOND / 10;
            }
            let (slow, fast) = (10 * 2_000 / old.as_secs(), 10 * 2_000 / new.as_secs());
            let least = if matches!(tag, 0 | 2) { slow } else { slow / 2 };
            // Fixed windows admit up to twice the limit around a boundary.
            assert!(admitted <= fast + 20, "{limit:?}: {admitted}");
            assert!(admitted >= least, "{limit:?}: {admitted}");
        }
    }
}

#[test]
fn a_log_of_a_thousand_entries_is_cut_exactly() {
    let limit = Limit::sliding_log(1_000, Duration::from_secs(10));
    let mut limiter = RedisLimiter::new(&[(0, limit)]);
    let call = limiter.build(Op::Take, "ann", &[0], 1);
    for part in 0..100 {
        let now = START + part * 100_000_000;
        // Ten different moments.
        for at in 0..10 {
            assert!(allowed(&limiter.send_one(now + at * 1_000, &call)));
        }
    }
    assert!(!allowed(
        &limiter.send_one(START + 10 * SECOND - 1_000, &call)
    ));
    let reply = limiter.take(START + 10 * SECOND + 5_000, 0, 0);
    assert_eq!(remaining(&reply), [6]);
    let refund = limiter.build(Op::Refund, "ann", &[0], 17);
    assert_eq!(
        remaining(&limiter.send_one(START + 10 * SECOND + 5_000, &refund)),
        [6 + 17]
    );
    assert_eq!(
        remaining(&limiter.take(START + 10 * SECOND + 5_000, 0, 23)),
        [0]
    );
}

#[test]
fn one_run_decides_more_keys_than_lua_takes_arguments() {
    for mut limiter in RedisLimiter::each(&limits()) {
        let foreign = String::from_utf8(limiter.build(Op::Take, "9000", &[0], 1).key.to_vec())
            .expect("plain");
        limiter.run::<()>(&["HSET", &format!("{foreign}:w0~b"), "a", "b"]);
        let calls: Vec<Call> = (0..10_000)
            .map(|number| limiter.build(Op::Take, &(number % 9_999).to_string(), &[0], 1))
            .collect();
        let answers = limiter.send(&calls.iter().collect::<Vec<_>>(), Some(START));
        for (number, answer) in answers.iter().enumerate() {
            match answer {
                Ok(reply) => assert_eq!(remaining(reply), [if number == 9_999 { 8 } else { 9 }]),
                Err(failure) => assert!(matches!(failure, Failure::Foreign(_)) && number == 9_000),
            }
        }
    }
}

#[test]
fn a_full_server_writes_all_or_nothing() {
    let server = Server::with(&[&["maxmemory-policy", "noeviction"]]);
    let mut limiter = RedisLimiter::on(server, &limits());
    limiter.take(START, 0, 5);
    limiter.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let calls = [
        limiter.build(Op::Reset, "ann", &[0], 0),
        limiter.build(Op::Take, "ann", &[1, 2, 3], 1),
    ];
    let reply: Result<Value, _> =
        wire::encode(calls.iter(), Some(Nanos(START))).query(&mut limiter.connection);
    assert_eq!(reply.expect_err("no memory").code(), Some("OOM"));
    // A call that takes nothing is answered, and nothing was reset.
    assert_eq!(remaining(&limiter.take(START, 0, 0)), [5]);
    limiter.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    let keys: usize = limiter.run(&["DBSIZE"]);
    assert_eq!(keys, 1);
}

#[test]
fn an_unreadable_reply_fails_all_calls() {
    let limiter = RedisLimiter::new(&limits());
    let calls = [
        limiter.build(Op::Take, "ann", &[0], 1),
        limiter.build(Op::Peek, "ann", &tags(), 1),
    ];
    for reply in [
        Value::Nil,
        Value::Array(vec![]),
        Value::Array(vec![Value::Int(1), Value::BulkString(b"AA".to_vec())]),
        Value::Array(vec![
            Value::Int(1),
            Value::BulkString(b"A".to_vec()),
            Value::Okay,
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
