//! Concurrent calls at a gate: every interleaving of two.

use std::sync::Arc;

use loom::thread;

use super::{Entry, Gate, Outcome, Permit};
use crate::clock::Clock;
use crate::verdict::{Retry, Usage};

fn entered(gate: &Arc<Gate>) -> Option<Permit> {
    let usage = Usage {
        retry: Retry::Now,
        ..Usage::UNKNOWN
    };
    match gate.enter(|| Ok::<_, ()>(usage)) {
        Ok(Entry::Allowed(_, permit)) => Some(permit),
        _ => None,
    }
}

#[test]
fn loom_the_last_place_goes_to_one() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(Clock::Monotonic, None));
        gate.set_guard(Some(1));
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || entered(&gate))
        };
        let here = entered(&gate);
        let there = other.join().unwrap();
        assert!(here.is_some() != there.is_some());
        drop((here, there));
        assert_eq!(gate.counts().in_flight, 0);
    });
}

#[test]
fn loom_a_place_is_returned_once_by_two_threads() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(Clock::Monotonic, None));
        let permit = Arc::new(gate.hold());
        let other = {
            let permit = Arc::clone(&permit);
            thread::spawn(move || permit.finish(Outcome::Error))
        };
        let here = permit.finish(Outcome::Error);
        assert!(here != other.join().unwrap());
        assert_eq!(gate.counts().in_flight, 0);
    });
}
