//! The cases that every implementation answers alike (`test/vectors/`, see its README), run by the core and, so that
//! a mistake of the core does not become the expected value, by the naive model.
//!
//! `BLESS=1` writes the file of the cases that the model answers.

#[path = "../model/mod.rs"]
mod model;
#[path = "../rig/mod.rs"]
mod rig;

mod case;
mod text;
mod writer;

use std::path::PathBuf;

use case::{Asked, Case, Step};
use model::{Call, Model};
use rig::Rig;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../test/vectors", name]
        .iter()
        .collect()
}

fn read(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Takes every step of a case by `ask`, which gets the time and a call, and compares the answers.
fn run(case: &Case, mut ask: impl FnMut(u64, &Call) -> Asked) {
    for Step {
        line,
        at_ms,
        call,
        expected,
    } in &case.steps
    {
        let now = (case.start_ms + at_ms) * 1_000_000;
        let asked = ask(now, call);
        let answer = text::answer(&case.names, &asked);
        assert_eq!(answer, *expected, "{}, line {line}", case.title);
    }
}

fn run_all(name: &str) {
    let text = read(name);
    let words = text.split(|letter: char| !letter.is_ascii_digit());
    let largest = words.filter_map(|word| word.parse::<u64>().ok()).max();
    assert!(
        largest.is_some_and(|largest| largest < 1 << 53),
        "more than a double holds"
    );
    let cases = text::cases(&text);
    assert!(
        cases.len() >= 10,
        "expected cases in {name}, got: {}",
        cases.len()
    );
    for case in &cases {
        let rig = Rig::new(&case.limits);
        run(case, |now, call| rig.at(now).call(call));
        let mut model = Model::new(&case.limits);
        run(case, |now, call| model.call(now, call));
    }
}

#[test]
fn derived_cases_have_the_answers_worked_out_by_hand() {
    run_all("derived.txt");
}

#[test]
fn modelled_cases_have_the_answers_of_the_model() {
    let told = writer::file();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path("modelled.txt"), &told).expect("a directory to write to");
    }
    assert!(
        told == read("modelled.txt"),
        "modelled.txt is not up to date: run with BLESS=1"
    );
    run_all("modelled.txt");
}
