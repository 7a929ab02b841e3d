//! Concurrent calls in a table: every interleaving of two threads. (Loom lets two waiters yield to each other forever,
//! and never to the holder of the lock, so only one thread waits at a time.)

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::call::{Call, Select, Tag};
use crate::clock::{Clock, Nanos};
use crate::error::CallError;
use crate::key::Key;
use crate::limit::Limit;
use crate::plan::Plan;
use crate::scale::Scale;
use crate::verdict::Usages;

use super::{Accounting, Budget, Generation, Stripe, Table, Totals};

const EPOCH: u32 = 1;

/// Keys whose address begins with the bit 0 and 1: a split of the only stripe separates them.
const STAYS: Key = key(0);
const LEAVES: Key = key(1);

const fn key(address: u64) -> Key {
    Key {
        high: address << 8 | 1,
        low: address,
    }
}

fn generation(epoch: u32, limits: &[u64]) -> Arc<Generation> {
    let bucket = |limit: &u64| Limit::token_bucket(*limit, Duration::from_secs(1));
    let limits: Vec<(Tag, Limit)> = (1..).zip(limits.iter().map(bucket)).collect();
    Arc::new(Generation {
        first_serial: 0,
        epoch,
        plan: Plan::new(&limits, Nanos(0)).expect("valid limits"),
        plans: None,
        clock: Clock::Monotonic,
        offset_to_unix: Nanos(0),
        longest: Nanos(0),
        accounting: Arc::new(Accounting {
            budget: Budget::new(10),
            totals: Totals::default(),
        }),
    })
}

/// A table of one stripe.
fn table(limits: &[u64]) -> Arc<Table> {
    let table = Table::new(1);
    let generation = generation(EPOCH, limits);
    table.refill(|level| Stripe::new(&generation, level));
    Arc::new(table)
}

fn check(table: &Table, epoch: u32, key: Key, cost: u64) -> Result<Usages, CallError> {
    let call = Call {
        shares: true,
        epoch,
        key,
        cost,
        scale: Scale::ONE,
        monotonic: Nanos(7),
        takes: true,
        under: crate::plans::Under::Own,
    };
    let mut usages = Usages::new();
    let visit = |stripe: &mut Stripe| stripe.check_all(&call, Select::All, &mut usages);
    table.with(key, &mut false, visit)?;
    Ok(usages)
}

fn takes(table: &Table, key: Key) -> u64 {
    let usages = check(table, EPOCH, key, 1).expect("open");
    u64::from(usages.iter().all(|(_, usage)| usage.allowed()))
}

fn left(table: &Table, epoch: u32, key: Key) -> Vec<u64> {
    let usages = check(table, epoch, key, 0).expect("open");
    usages.iter().map(|(_, usage)| usage.remaining).collect()
}

#[test]
fn loom_all_windows_take_or_none() {
    loom::model(|| {
        let table = table(&[1, 2]);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || takes(&table, STAYS))
        };
        assert_eq!(takes(&table, STAYS) + other.join().unwrap(), 1);
        // The second window admitted one call, and gave nothing to the one that the first denied.
        assert_eq!(left(&table, EPOCH, STAYS), [0, 1]);
    });
}

#[test]
fn loom_a_split_neither_loses_nor_doubles_a_key() {
    loom::model(|| {
        let table = table(&[3]);
        assert_eq!(takes(&table, STAYS) + takes(&table, LEAVES), 2);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || takes(&table, LEAVES) + takes(&table, STAYS))
        };
        table.split();
        assert_eq!(other.join().unwrap(), 2);
        assert_eq!(table.len(), 2);
        assert_eq!(left(&table, EPOCH, STAYS), [1]);
        assert_eq!(left(&table, EPOCH, LEAVES), [1]);
    });
}

#[test]
fn loom_a_new_key_during_a_split_is_found_again() {
    loom::model(|| {
        let table = table(&[3]);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || takes(&table, LEAVES) + takes(&table, LEAVES))
        };
        table.split();
        assert_eq!(other.join().unwrap(), 2);
        assert_eq!(left(&table, EPOCH, LEAVES), [1]);
    });
}

#[test]
fn loom_a_late_call_takes_nothing_from_the_next_generation() {
    loom::model(|| {
        let table = table(&[3]);
        table.split();
        let late = {
            let table = Arc::clone(&table);
            thread::spawn(move || [LEAVES, STAYS].map(|key| check(&table, EPOCH, key, 1)))
        };
        let next = generation(EPOCH + 1, &[3]);
        table.refill(|level| Stripe::new(&next, level));
        for answer in late.join().unwrap() {
            match answer {
                Ok(usages) => assert_eq!(usages[0].1.remaining, 2),
                Err(error) => assert_eq!(error, CallError::UnknownLimiter),
            }
        }
        assert_eq!(left(&table, EPOCH + 1, STAYS), [3]);
        assert_eq!(left(&table, EPOCH + 1, LEAVES), [3]);
    });
}
