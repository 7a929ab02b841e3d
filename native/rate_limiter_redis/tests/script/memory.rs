//! The server's memory for a key.

use std::time::Duration;

use rate_limiter_core::{Limit, Scale};
use rate_limiter_distributed::{Call, Op};

use crate::fixture::{allowed, START};
use crate::redis_limiter::RedisLimiter;

/// Returns the memory per key: the difference of the server's memory without keys, and with so many that its hash
/// tables are full. A key has 22 bytes, and is charged `times` times, a tenth of a second apart.
fn bytes_per_key(limit: Limit, units: u64, times: u64) -> u64 {
    const KEYS: u64 = 65_500;
    const BATCH: u64 = 100;
    let mut limiter = RedisLimiter::new(&[(0, limit)]);
    // On a slow machine the slow log would take memory.
    limiter.run::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    // Measured over a new connection, since the buffers of a connection are not part of a key.
    let used = |limiter: &mut RedisLimiter| -> u64 {
        limiter.reconnect();
        let info: String = limiter.run(&["INFO", "memory"]);
        let used = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        used.and_then(|bytes| bytes.parse().ok()).expect("a number")
    };
    let windows = limiter.build(Op::Take, "x", &[0], 1).windows;
    let call = |number: u64| Call {
        key: format!("rl:{{a:u{number:09}}}").into_bytes().into(),
        op: Op::Take,
        cost: units,
        scale: Scale::ONE,
        windows: windows.clone(),
        request_id: None,
        receipt: None,
        named: Vec::new(),
    };
    let before = used(&mut limiter);
    for time in 0..times {
        for batch in 0..KEYS / BATCH {
            let calls: Vec<Call> = (0..BATCH)
                .map(|number| call(batch * BATCH + number))
                .collect();
            let now = START + time * 100_000_000;
            for answer in limiter.send(&calls.iter().collect::<Vec<_>>(), Some(now)) {
                assert!(allowed(&answer.expect("an answer")));
            }
        }
    }
    let (after, keys): (u64, u64) = (used(&mut limiter), limiter.run(&["DBSIZE"]));
    assert_eq!(keys, KEYS);
    let any: String = limiter.run(&["RANDOMKEY"]);
    assert_eq!(any.len(), 22, "{any}");
    (after - before) / KEYS
}

#[test]
fn a_key_takes_few_bytes_of_the_servers_memory() {
    let second = Duration::from_secs(1);
    let bucket = bytes_per_key(Limit::token_bucket(100, second).with_burst(200), 1, 1);
    let one = bytes_per_key(Limit::sliding_window(100, second), 1, 1);
    let all = bytes_per_key(Limit::sliding_window(100, second), 10, 10);
    println!("bytes per key: {bucket} bucket; window of 10: {one} with one sub-window in use, {all} with all");
    assert!(bucket <= 150, "{bucket}");
    assert!(one <= 150, "{one}");
    // The allocator's next size class below is 144.
    assert!(all <= 162, "{all}");
}
