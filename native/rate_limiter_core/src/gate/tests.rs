use std::sync::Arc;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::verdict::Retry;

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(Clock::Monotonic, None))
}

fn usage(allowed: bool) -> impl FnOnce() -> Result<Usage, ()> {
    let retry = if allowed { Retry::Now } else { Retry::Never };
    move || {
        Ok(Usage {
            retry,
            ..Usage::UNKNOWN
        })
    }
}

fn entered(gate: &Arc<Gate>) -> Option<Permit> {
    match gate.enter(usage(true)) {
        Ok(Entry::Allowed(_, permit)) => Some(permit),
        _ => None,
    }
}

#[test]
fn as_many_as_the_guard_says_are_at_work_at_once() {
    let gate = gate();
    gate.set_guard(Some(2));
    let (first, second) = (entered(&gate), entered(&gate));
    assert!(first.is_some() && second.is_some());
    assert!(matches!(
        gate.enter(usage(true)),
        Ok(Entry::Full {
            max: 2,
            in_flight: 2
        })
    ));
    drop(first);
    assert!(entered(&gate).is_some());
    let counts = gate.counts();
    assert_eq!((counts.asked, counts.guarded, counts.abandoned), (4, 1, 2));
    assert_eq!((counts.in_flight, counts.guard), (1, Some(2)));
}

#[test]
fn a_guard_of_none_lets_one_in_all_the_same() {
    let gate = gate();
    gate.set_guard(Some(0));
    assert!(entered(&gate).is_some());
}

#[test]
fn who_is_denied_leaves_no_place_taken_and_no_sample() {
    let gate = gate();
    assert!(matches!(gate.enter(usage(false)), Ok(Entry::Denied(_))));
    assert!(gate.enter(|| Err::<Usage, _>("gone")).is_err());
    let counts = gate.counts();
    assert_eq!(
        (counts.in_flight, counts.abandoned, counts.denied),
        (0, 0, 1)
    );
    assert_eq!(gate.drain(), (Work::default(), Work::default()));
}

#[test]
fn a_place_is_given_back_once() {
    let gate = gate();
    let permit = entered(&gate).unwrap();
    assert!(permit.finish(Outcome::Ok));
    assert!(!permit.finish(Outcome::Error));
    drop(permit);
    let counts = gate.counts();
    assert_eq!((counts.in_flight, counts.abandoned), (0, 0));
    assert_eq!(gate.drain().0.ok, 1);
}

#[test]
fn an_emergency_gets_a_place_where_none_is_free() {
    let gate = gate();
    gate.set_guard(Some(1));
    gate.set_open(0);
    let permit = gate.hold();
    assert_eq!(gate.counts().in_flight, 1);
    drop(permit);
    assert_eq!(gate.counts().in_flight, 0);
}

#[test]
fn work_that_began_before_a_cut_is_told_apart() {
    let clock = Arc::new(ManualClock::new(Nanos(0)));
    let gate = Arc::new(Gate::new(Clock::Manual(Arc::clone(&clock)), None));
    let (done, early) = (entered(&gate).unwrap(), entered(&gate).unwrap());
    clock.advance(Nanos(7_000));
    done.finish(Outcome::Ok);
    gate.cut();
    let late = entered(&gate).unwrap();
    clock.advance(Nanos(5_000));
    early.finish(Outcome::Ok);
    late.finish(Outcome::Error);
    let (fresh, earlier) = gate.drain();
    assert_eq!((fresh.ok, fresh.errors), (0, 1));
    assert_eq!((earlier.ok, earlier.sum_us), (2, 19));
    assert_eq!(earlier.buckets, [(7, 1), (12, 1)]);
}

fn part(whole: &Arc<Gate>) -> Arc<Gate> {
    Arc::new(Gate::new(Clock::Monotonic, Some(Arc::clone(whole))))
}

#[test]
fn a_place_in_a_part_is_a_place_in_the_whole() {
    let whole = gate();
    let (one, other) = (part(&whole), part(&whole));
    whole.set_guard(Some(3));
    one.set_room(Some(2));
    let held = [entered(&one).unwrap(), entered(&one).unwrap()];
    // What is left is kept for the other one.
    assert!(entered(&one).is_none());
    let last = entered(&other).unwrap();
    assert!(entered(&other).is_none());
    let counts = whole.counts();
    assert_eq!((counts.in_flight, counts.asked), (3, 5));
    assert_eq!((counts.denied, counts.guarded), (1, 1));
    assert_eq!((one.counts().in_flight, one.counts().guarded), (2, 1));
    drop(held);
    last.finish(Outcome::Error);
    assert_eq!(whole.counts().in_flight, 0);
    assert_eq!((one.counts().in_flight, other.counts().in_flight), (0, 0));
    assert_eq!((whole.counts().abandoned, whole.drain().0.errors), (2, 1));
}

#[test]
fn a_cut_of_the_whole_is_none_of_the_part() {
    let whole = gate();
    let part = part(&whole);
    let permit = entered(&part).unwrap();
    whole.cut();
    permit.finish(Outcome::Error);
    assert_eq!(part.drain().0.errors, 1);
    let (fresh, earlier) = whole.drain();
    assert_eq!((fresh.errors, earlier.errors), (0, 1));
}

#[test]
fn a_crowd_never_passes_the_guard_and_leaves_no_place_taken() {
    let gate = gate();
    gate.set_guard(Some(3));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                for n in 0..20_000 {
                    if let Some(permit) = entered(&gate) {
                        assert!(gate.counts().in_flight <= 3);
                        if n % 3 == 0 {
                            permit.finish(Outcome::Ok);
                        }
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let counts = gate.counts();
    assert_eq!((counts.in_flight, counts.asked), (0, 80_000));
    let let_in = gate.drain().0.ok + counts.abandoned;
    assert_eq!(let_in + counts.guarded, 80_000);
}

proptest! {
    #[test]
    fn the_share_of_an_opening_goes_on_exactly(ppm in 0_u32..=1_000_000, calls in 1_u64..3_000) {
        let gate = gate();
        gate.set_open(ppm);
        let on = (0..calls).filter(|_| matches!(gate.check(usage(true)), Ok(Entry::Allowed(..)))).count() as u64;
        let due = calls * u64::from(ppm) / 1_000_000;
        prop_assert!(on == due, "{on} of {calls} went on, {due} were due");
        prop_assert_eq!(gate.counts().shed, calls - on);
    }

    /// Whatever permits do, and in whatever order, those at work are those that hold a place.
    #[test]
    fn places_at_work_are_those_that_are_held(
        guard in 1_u64..6,
        steps in proptest::collection::vec((0_usize..4, 0_usize..8), 0..200),
    ) {
        let gate = gate();
        gate.set_guard(Some(guard));
        let mut held: Vec<(Permit, bool)> = Vec::new();
        for (step, which) in steps {
            let at_work = held.iter().filter(|(_, finished)| !finished).count() as u64;
            match step {
                0 => if let Some(permit) = entered(&gate) {
                    prop_assert!(at_work < guard);
                    held.push((permit, false));
                } else {
                    prop_assert!(at_work >= guard);
                },
                1 => held.push((gate.hold(), false)),
                2 if which < held.len() => {
                    let (permit, finished) = &mut held[which];
                    prop_assert_eq!(permit.finish(Outcome::Ok), !*finished);
                    *finished = true;
                }
                _ if which < held.len() => drop(held.swap_remove(which)),
                _ => (),
            }
            let at_work = held.iter().filter(|(_, finished)| !finished).count() as u64;
            prop_assert_eq!(gate.counts().in_flight, at_work);
        }
    }
}
