//! The file of cases that the naive model answers: arbitrary histories, but the same ones in each run.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use rate_limiter_core::{Algorithm, Limit, Tag};

use crate::case::place;
use crate::model::{Call, Model};
use crate::text;

const CASES: u64 = 60;
const STEPS: u64 = 25;
const IDS: [&str; 2] = ["ann", "bob"];

/// Intervals of a token, in ms; periods are multiples, so that every rate has whole milliseconds, and so has half of
/// it, and a quarter.
const INTERVALS: [u64; 5] = [1, 4, 100, 250, 60_000];
/// The periods of windows, in ms: whole milliseconds for each number of sub-windows.
const PERIODS: [u64; 4] = [600, 1_000, 60_000, 86_400_000];
const SUB_WINDOWS: [u32; 5] = [1, 2, 4, 5, 10];
const SCALES: [u32; 4] = [1_000_000, 500_000, 250_000, 1_000_000];

/// Numbers that look random. Which ones does not matter, as long as they stay the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        let choice = self.below(choices.len() as u64);
        choices[usize::try_from(choice).expect("few")]
    }
}

pub(crate) fn file() -> String {
    let mut text =
        String::from("# Told by the naive model; see README.md. Not to be edited by hand.\n");
    for number in 0..CASES {
        let numbers = &mut Numbers(0x9E37_79B9_7F4A_7C15 ^ number << 32);
        case(number, numbers, &mut text);
    }
    text
}

fn case(number: u64, numbers: &mut Numbers, text: &mut String) {
    let windows = 1 + number % 3;
    let names: Vec<String> = (0..windows).map(|window| format!("w{window}")).collect();
    let mut limits: Vec<(Tag, Limit)> = (0..windows)
        .map(|tag| (tag, limit(numbers, (number / 3 + tag) % 5)))
        .collect();
    let start_ms = 1_735_689_600_000 + numbers.below(100_000);
    let mut lines = format!("\ncase number {number}\nstart {start_ms}\n");
    for (tag, limit) in &limits {
        let (algorithm, options) = (algorithm(limit), text::options(limit));
        let name = &names[place(*tag)];
        writeln!(lines, "window {name} {algorithm} {options}").expect("text takes text");
    }
    let mut model = Model::new(&limits);
    let (mut at_ms, mut waits) = (0, vec![0_u64]);
    let mut former = limits
        .iter()
        .map(|(tag, limit)| (*tag, rate(limit)))
        .collect();
    for _ in 0..STEPS {
        at_ms += match numbers.below(4) {
            0 => 0,
            1 => numbers.of(&waits),
            2 => numbers.of(&waits).saturating_sub(1),
            _ => numbers.below(1 + 2 * per_ms(&limits[0].1) / 3),
        };
        let call = call(numbers, &mut limits, &mut former);
        let asked = model.call((start_ms + at_ms) * 1_000_000, &call);
        let usages = asked.iter().map(|(_, usage)| usage);
        let resets = usages.map(|usage| usage.reset_after.as_millis_ceil());
        waits = std::iter::once(0).chain(resets).collect();
        let told = text::answer(&names, &asked);
        let equals = if told.is_empty() { "" } else { " = " };
        let words = words(&names, &call);
        writeln!(lines, "at {at_ms} {words}{equals}{told}").expect("text takes text");
    }
    text.push_str(&lines);
}

/// One of five kinds.
fn limit(numbers: &mut Numbers, kind: u64) -> Limit {
    if kind == 0 {
        return bucket(numbers);
    }
    let algorithm = match kind {
        1 => Algorithm::SlidingWindow {
            sub_windows: numbers.of(&SUB_WINDOWS),
        },
        2 => Algorithm::SlidingLog,
        _ => Algorithm::FixedWindow { aligned: kind == 3 },
    };
    let per = Duration::from_millis(numbers.of(&PERIODS));
    Limit::new(2 + numbers.below(10), per, algorithm)
}

fn bucket(numbers: &mut Numbers) -> Limit {
    let limit = numbers.of(&[1, 2, 5, 10, 40]);
    let per = Duration::from_millis(limit * numbers.of(&INTERVALS));
    let burst = Some(1 + numbers.below(12));
    Limit::new(limit, per, Algorithm::TokenBucket { burst })
}

/// A limit does not return to a rate or period that it had: a store that several nodes share still knows what was used
/// under that one, since another node may judge by it.
fn call(
    numbers: &mut Numbers,
    limits: &mut [(Tag, Limit)],
    former: &mut HashSet<(Tag, Duration)>,
) -> Call {
    let id = numbers.below(IDS.len() as u64 + 2) / 3;
    let cost = numbers.of(&[0, 1, 1, 1, 2, 2, 3, 5, 13]);
    let some = numbers.below(1 << limits.len()).max(1);
    let tags: Vec<Tag> = limits
        .iter()
        .map(|(tag, _)| *tag)
        .filter(|tag| some >> tag & 1 == 1)
        .collect();
    match numbers.below(20) {
        0 => Call::Reset(id, tags),
        1 | 2 => Call::Refund(id, tags, cost),
        3 | 4 => Call::Peek(id, tags, cost),
        5 => Call::Scale(numbers.of(&SCALES)),
        6 => {
            let place = usize::try_from(numbers.below(limits.len() as u64)).expect("few");
            let (tag, limit) = &mut limits[place];
            let next = changed(numbers, limit);
            if !former.insert((*tag, rate(&next))) && rate(&next) != rate(limit) {
                return Call::Peek(id, tags, cost);
            }
            *limit = next;
            Call::Update(*tag, limit.clone())
        }
        _ => Call::Check(id, tags, cost),
    }
}

fn changed(numbers: &mut Numbers, limit: &Limit) -> Limit {
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => bucket(numbers),
        other => {
            let per = Duration::from_millis(numbers.of(&PERIODS));
            Limit::new(2 + numbers.below(10), per, other)
        }
    }
}

/// Returns what a state depends on: the time between two tokens, or the period.
fn rate(limit: &Limit) -> Duration {
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => {
            limit.per() / u32::try_from(limit.limit()).expect("a small limit")
        }
        _ => limit.per(),
    }
}

fn words(names: &[String], call: &Call) -> String {
    let all = |tags: &[Tag]| -> String {
        let names: Vec<&str> = tags.iter().map(|tag| names[place(*tag)].as_str()).collect();
        names.join(",")
    };
    let id = |id: u64| IDS[usize::try_from(id).expect("few")];
    match call {
        Call::Check(who, tags, cost) => format!("check {} {} {cost}", id(*who), all(tags)),
        Call::Peek(who, tags, cost) => format!("peek {} {} {cost}", id(*who), all(tags)),
        Call::Refund(who, tags, cost) => format!("refund {} {} {cost}", id(*who), all(tags)),
        Call::Reset(who, tags) => format!("reset {} {}", id(*who), all(tags)),
        Call::Scale(ppm) => format!("set_scale {ppm}"),
        Call::Update(tag, limit) => {
            let changed = text::options(limit);
            // A change keeps the shape of a state.
            let kept = changed.split(' ').filter(|option| {
                !option.starts_with("sub_windows") && !option.starts_with("aligned")
            });
            let kept: Vec<&str> = kept.collect();
            format!("update_limit {} {}", names[place(*tag)], kept.join(" "))
        }
        Call::Sweep => panic!("expected a call that an application makes, got a sweep"),
    }
}

fn algorithm(limit: &Limit) -> &'static str {
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => "token_bucket",
        Algorithm::SlidingWindow { .. } => "sliding_window",
        Algorithm::SlidingLog => "sliding_log",
        Algorithm::FixedWindow { .. } => "fixed_window",
    }
}

fn per_ms(limit: &Limit) -> u64 {
    u64::try_from(limit.per().as_millis()).expect("a period of days")
}
