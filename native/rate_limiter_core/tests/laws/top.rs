//! Who calls most: counts within their bound, of the last minutes only.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use rate_limiter_core::{Clock, Epoch, Key, ManualClock, Most, Nanos, Ranked, Seed, Top};

const BURST: u64 = 1;
const DAILY: u64 = 2;
const MINUTE: u64 = 60_000_000_000;

fn key(id: u16) -> Key {
    Seed::fixed(3).key(&id.to_le_bytes())
}

/// Some ids call often, many rarely. Each call has its window, and whether it was denied.
fn calls() -> impl Strategy<Value = Vec<(u16, bool)>> {
    let id = prop_oneof![3 => 0_u16..4, 1 => 0_u16..300];
    prop::collection::vec((id, any::<bool>()), 0..1_500)
}

fn truth(calls: &[(u16, bool)]) -> HashMap<Key, (u64, u64)> {
    let mut truth = HashMap::new();
    for &(id, denied) in calls {
        let counts = truth.entry(key(id)).or_insert((0, 0));
        counts.0 += 1;
        counts.1 += u64::from(denied);
    }
    truth
}

/// Each count is at most the truth, and less by at most the bound. What is not ranked is within the bound, too.
fn check(ranked: &[Ranked], calls: &[(u16, bool)], capacity: u64) -> Result<(), TestCaseError> {
    let all = calls.len() as u64;
    let denied = calls.iter().filter(|(_, denied)| *denied).count() as u64;
    let mut truth = truth(calls);
    for row in ranked {
        let (calls, denials) = truth.remove(&row.key).expect("only keys that called");
        prop_assert!(row.calls <= calls && calls - row.calls <= all / capacity);
        prop_assert!(row.denied <= denials && denials - row.denied <= denied / capacity);
    }
    for (calls, denials) in truth.into_values() {
        prop_assert!(calls <= all / capacity && denials <= denied / capacity);
    }
    Ok(())
}

proptest! {
    #[test]
    fn counts_of_many_threads_are_within_the_bound(calls in calls(), threads in 1_usize..5, capacity in 1_usize..40) {
        let (top, epoch) = (Top::default(), Epoch::from_number(1));
        top.open(epoch, &Clock::Manual(Arc::default()), &[BURST, DAILY], capacity);
        thread::scope(|scope| {
            for part in calls.chunks(calls.len() / threads + 1) {
                let top = &top;
                scope.spawn(move || {
                    for &(id, denied) in part {
                        top.record(epoch, key(id), BURST, denied, || None);
                    }
                });
            }
        });
        for by in [Most::Calls, Most::Denied] {
            let ranked = top.most(epoch, BURST, by, usize::MAX);
            check(&ranked, &calls, capacity as u64)?;
            let counts = |row: &Ranked| match by {
                Most::Calls => row.calls,
                Most::Denied => row.denied,
            };
            prop_assert!(ranked.windows(2).all(|pair| counts(&pair[0]) >= counts(&pair[1])));
            prop_assert_eq!(&top.most(epoch, BURST, by, 3)[..], &ranked[..ranked.len().min(3)]);
        }
        prop_assert!(top.most(epoch, DAILY, Most::Calls, usize::MAX).is_empty());
    }

    #[test]
    fn calls_count_for_at_least_a_minute_and_less_than_two(
        steps in prop::collection::vec((0_u16..20, any::<bool>(), 0_u64..20_000_000_000), 0..300),
    ) {
        let clock = Arc::new(ManualClock::new(Nanos(7 * MINUTE + 1)));
        let (top, epoch) = (Top::default(), Epoch::from_number(1));
        top.open(epoch, &Clock::Manual(clock.clone()), &[BURST], 20);
        let mut counted = Vec::new();
        for (id, denied, wait) in steps {
            top.record(epoch, key(id), BURST, denied, || None);
            counted.push((clock.now().0, id, denied));
            let now = clock.advance(Nanos(wait)).0;
            let recent = |since: u64| -> Vec<(u16, bool)> {
                let recent = counted.iter().filter(|(at, ..)| *at >= since);
                recent.map(|&(_, id, denied)| (id, denied)).collect()
            };
            // With room for all, counts are exact: those of this minute and of the one before.
            let exact = truth(&recent((now / MINUTE - 1) * MINUTE));
            let ranked = top.most(epoch, BURST, Most::Calls, usize::MAX);
            prop_assert_eq!(ranked.len(), exact.len());
            for row in &ranked {
                prop_assert_eq!((row.calls, row.denied), exact[&row.key]);
            }
            // In other words.
            for (key, (calls, _)) in truth(&recent(now - MINUTE)) {
                prop_assert!(ranked.iter().any(|row| row.key == key && row.calls >= calls));
            }
        }
    }
}

#[test]
fn after_a_jump_of_the_clock_nothing_old_is_left() {
    for jump in [2 * MINUTE, 3 * MINUTE, 1_000 * MINUTE] {
        let clock = Arc::new(ManualClock::new(Nanos(500 * MINUTE)));
        let (top, epoch) = (Top::default(), Epoch::from_number(1));
        top.open(epoch, &Clock::Manual(clock.clone()), &[BURST], 20);
        top.record(epoch, key(1), BURST, false, || None);
        clock.advance(Nanos(jump));
        assert!(top.most(epoch, BURST, Most::Calls, 9).is_empty());
        top.record(epoch, key(1), BURST, false, || None);
        clock.set(Nanos(MINUTE));
        assert!(top.most(epoch, BURST, Most::Calls, 9).is_empty());
    }
}

#[test]
fn another_epoch_and_a_closed_one_count_nothing() {
    let (top, first, second) = (Top::default(), Epoch::from_number(1), Epoch::from_number(2));
    let record = |epoch| top.record(epoch, key(1), BURST, false, || None);
    let calls = |epoch| top.most(epoch, BURST, Most::Calls, 9).len();
    record(first);
    assert_eq!(calls(first), 0);
    top.open(first, &Clock::default(), &[BURST], 5);
    record(first);
    record(second);
    assert_eq!((calls(first), calls(second)), (1, 0));
    top.open(second, &Clock::default(), &[BURST], 5);
    record(first);
    assert_eq!((calls(first), calls(second)), (0, 0));
    top.close();
    record(second);
    assert_eq!(calls(second), 0);
}

#[test]
fn the_label_is_that_of_the_first_call() {
    let (top, epoch) = (Top::default(), Epoch::from_number(1));
    top.open(epoch, &Clock::default(), &[BURST], 5);
    for label in [&b"ann"[..], b"other"] {
        top.record(epoch, key(1), BURST, true, || Some(label.into()));
    }
    let most = top.most(epoch, BURST, Most::Denied, 9);
    assert_eq!(most[0].label.as_deref(), Some(&b"ann"[..]));
}
