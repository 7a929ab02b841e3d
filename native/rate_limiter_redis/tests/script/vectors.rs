//! The cases that every implementation answers alike (`test/vectors/`).

use std::path::PathBuf;

use crate::case::Step;
use crate::remote::Remote;
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
    let mut remote = Remote::new(&[]);
    for (number, case) in cases.iter().enumerate() {
        remote.open(&number.to_string(), &case.limits);
        for Step {
            line,
            at_ms,
            call,
            expected,
        } in &case.steps
        {
            let now = (case.start_ms + at_ms) * 1_000_000;
            let answer = text::answer(&case.names, &remote.call(now, call));
            assert_eq!(answer, *expected, "{name}, {}, line {line}", case.title);
        }
    }
}

#[test]
fn derived_cases_are_answered_as_they_were_worked_out() {
    run_all("derived.txt");
}

#[test]
fn modelled_cases_are_answered_as_the_model_told() {
    run_all("modelled.txt");
}
