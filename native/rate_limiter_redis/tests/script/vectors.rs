//! The cases of `test/vectors/`, which all implementations answer alike.

use std::path::PathBuf;

use crate::case::Step;
use crate::redis_limiter::RedisLimiter;
use crate::text;

fn run_all(name: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../test/vectors", name]
        .iter()
        .collect();
    let read = std::fs::read_to_string(&path);
    let read = read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases = text::cases(&read);
    assert!(
        cases.len() >= 10,
        "expected cases in {name}, got: {}",
        cases.len()
    );
    for mut limiter in RedisLimiter::each(&[]) {
        for (number, case) in cases.iter().enumerate() {
            limiter.open(&number.to_string(), &case.limits);
            for Step {
                line,
                at_ms,
                call,
                expected,
            } in &case.steps
            {
                let now = (case.start_ms + at_ms) * 1_000_000;
                let answer = text::answer(&case.names, &limiter.call(now, call));
                assert_eq!(answer, *expected, "{name}, {}, line {line}", case.title);
            }
        }
    }
}

#[test]
fn derived_cases_are_answered_as_calculated_by_hand() {
    run_all("derived.txt");
}

#[test]
fn modelled_cases_are_answered_as_by_the_model() {
    run_all("modelled.txt");
}
