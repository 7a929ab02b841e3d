//! The memory of keys: measured as the resident size of a process that does nothing else, not computed.
//!
//! Each test runs itself again as that process. A sanitizer has memory of its own for each byte, and only Linux reports
//! the resident size in a file: elsewhere nothing is measured. That memory returns to the system is tested with
//! glibc only.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rate_limiter_core::{
    Clock, Epoch, Limit, Limiter, ManualClock, Nanos, Options, Seed, Tag, DEFAULT_MAX_KEYS,
};

const ONLY: Tag = 1;
const SECOND: Duration = Duration::from_secs(1);
const MILLION: u64 = 1_000_000;

/// Set in the process that measures.
const MEASURES: &str = "RATE_LIMITER_MEASURES_MEMORY";

/// Bytes of this process that are in memory or swapped out, without the pages of files: the system takes those away
/// and loads them again as needed.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a mounted /proc");
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        let number = number.expect("a line of this name with a number");
        number.parse::<u64>().expect("a number")
    };
    (kilobytes("RssAnon:") + kilobytes("VmSwap:")) * 1_024
}

/// Makes the allocator return freed memory to the system. By itself it does so only for memory that happens
/// to lie at the end of its heap.
#[allow(unsafe_code)]
fn give_back() {
    extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: glibc, which `target_env` guarantees, has it with this signature, for any thread at any time.
    unsafe { malloc_trim(0) };
}

/// Returns whether this process must measure for the test of this name. If not, it has run the test as another process.
fn measures(test: &str) -> bool {
    if std::env::var_os(MEASURES).is_some() {
        return true;
    }
    if option_env!("RUSTFLAGS").is_some_and(|flags| flags.contains("sanitizer")) {
        println!("skipped: a sanitizer's memory is not ours");
        return false;
    }
    let itself = std::env::current_exe().expect("a test that runs");
    let mut command = Command::new(itself);
    command
        .args(["--exact", test, "--nocapture"])
        .env(MEASURES, "1")
        // The end of a heap other than the main one is never returned.
        .env("MALLOC_ARENA_MAX", "1");
    let ran = command.output().expect("a process");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let measured = told.lines().find(|line| line.starts_with("measured: "));
    println!("{}", measured.expect("a figure"));
    false
}

struct Measured {
    limiter: Limiter,
    epoch: Epoch,
    clock: Arc<ManualClock>,
    seed: Seed,
}

impl Measured {
    fn new(limit: Limit, max_keys: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Nanos(1_750_000_000_000_000_000)));
        let options = Options {
            clock: Clock::Manual(Arc::clone(&clock)),
            max_keys,
        };
        let (limiter, epoch) = Limiter::new(&[(ONLY, limit)], options).expect("a valid limit");
        let seed = Seed::random();
        Self {
            limiter,
            epoch,
            clock,
            seed,
        }
    }

    /// So many keys, each with some use.
    fn fill(&self, keys: std::ops::Range<u64>) {
        for id in keys {
            let key = self.seed.key(&id.to_le_bytes());
            self.limiter.check(self.epoch, key, ONLY, 1).expect("open");
        }
    }

    fn keys(&self) -> u64 {
        self.limiter.stats(self.epoch).expect("open").keys
    }
}

/// Returns bytes for each of a million keys, of all memory of the limiter.
fn bytes_a_key(limit: Limit) -> u64 {
    let before = resident();
    let measured = Measured::new(limit, DEFAULT_MAX_KEYS);
    measured.fill(0..MILLION);
    assert_eq!(measured.keys(), MILLION);
    let bytes = (resident() - before) / MILLION;
    let told = measured.limiter.stats(measured.epoch).expect("open").bytes / MILLION;
    println!("measured: {bytes} bytes a key, of which {told} are told");
    // The reported bytes are the measured ones, except the allocator's own.
    assert!(told <= bytes && told * 10 >= bytes * 8, "{told} of {bytes}");
    bytes
}

#[test]
fn a_key_of_a_token_bucket_takes_at_most_64_bytes() {
    if measures("a_key_of_a_token_bucket_takes_at_most_64_bytes") {
        let bytes = bytes_a_key(Limit::token_bucket(100, SECOND));
        assert!(bytes <= 64, "{bytes}");
    }
}

#[test]
fn a_key_of_a_sliding_window_of_ten_takes_at_most_128_bytes() {
    if measures("a_key_of_a_sliding_window_of_ten_takes_at_most_128_bytes") {
        let bytes = bytes_a_key(Limit::sliding_window(100, SECOND));
        assert!(bytes <= 128, "{bytes}");
    }
}

#[test]
fn a_key_of_a_fixed_window_takes_at_most_80_bytes() {
    if measures("a_key_of_a_fixed_window_takes_at_most_80_bytes") {
        let bytes = bytes_a_key(Limit::fixed_window(100, SECOND));
        assert!(bytes <= 80, "{bytes}");
    }
}

#[test]
fn an_attack_takes_what_the_cap_allows_and_the_memory_is_freed() {
    if !measures("an_attack_takes_what_the_cap_allows_and_the_memory_is_freed") {
        return;
    }
    let before = resident();
    let measured = Measured::new(Limit::token_bucket(1, SECOND), MILLION);
    measured.fill(0..MILLION);
    let full = resident() - before;
    // Five million more keys, for which there is no room.
    measured.fill(MILLION..6 * MILLION);
    assert_eq!(measured.keys(), MILLION);
    let attacked = resident() - before;
    assert!(attacked < full + full / 10, "{attacked} after {full}");

    measured.clock.advance(Nanos::from(SECOND));
    while measured
        .limiter
        .sweep(measured.epoch, 10_000)
        .expect("open")
        > 0
    {}
    assert_eq!(measured.keys(), 0);
    let told = measured.limiter.stats(measured.epoch).expect("open").bytes;
    assert!(told < full / 20, "{told} of {full}");
    give_back();
    let left = resident() - before;
    println!("measured: {full} bytes at the cap, {attacked} under attack, {left} when it was over");
    assert!(left < full / 10, "{left} of {full}");

    // The next attack takes no more than the first.
    measured.fill(0..2 * MILLION);
    assert_eq!(measured.keys(), MILLION);
    let again = resident() - before;
    assert!(again < full + full / 10, "{again} after {full}");
    measured.limiter.close(measured.epoch).expect("open");
    give_back();
    let closed = resident() - before;
    assert!(closed < full / 10, "{closed} of {full}");
}
