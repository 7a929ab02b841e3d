//! Cases as text, and back.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use rate_limiter_core::{Algorithm, Limit, Retry, Tag, Usage};

use crate::case::{place, Asked, Case, Step};
use crate::model::Call;

/// The words of a line, and its number for messages.
struct Line<'a> {
    number: usize,
    words: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn word(&self, at: usize) -> &'a str {
        let word = self.words.get(at).copied();
        word.unwrap_or_else(|| panic!("line {}: expected more words", self.number))
    }

    fn number(&self, at: usize) -> u64 {
        let word = self.word(at);
        let parsed = word.parse();
        parsed.unwrap_or_else(|_| panic!("line {}: expected a number, got: {word}", self.number))
    }

    /// `name=value` from some word on.
    fn options(&self, from: usize) -> HashMap<&'a str, &'a str> {
        let option = |word: &&'a str| word.split_once('=').expect("name=value");
        self.words[from..].iter().map(option).collect()
    }
}

pub(crate) fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default();
        let line = Line {
            number: at + 1,
            words: content.split_whitespace().collect(),
        };
        let Some(&first) = line.words.first() else {
            continue;
        };
        if first == "case" {
            cases.push(Case {
                title: line.words[1..].join(" "),
                start_ms: 0,
                names: Vec::new(),
                limits: Vec::new(),
                steps: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().expect("a file begins with a case");
        match first {
            "start" => case.start_ms = line.number(1),
            "window" => {
                let tag = case.names.len() as Tag;
                case.names.push(line.word(1).to_owned());
                case.limits
                    .push((tag, limit(line.word(2), &line.options(3))));
            }
            "at" => case.steps.push(step(case, &line)),
            other => panic!("line {}: expected a known word, got: {other}", line.number),
        }
    }
    cases
}

fn step(case: &Case, line: &Line) -> Step {
    let (words, expected) = match line.words.iter().position(|word| *word == "=") {
        Some(at) => (&line.words[..at], line.words[at + 1..].join(" ")),
        None => (&line.words[..], String::new()),
    };
    let tags = |names: &str| names.split(',').map(|name| tag(case, name)).collect();
    let id = |name: &str| name.bytes().fold(0, |id, byte| id << 8 | u64::from(byte));
    let call = match *words {
        [_, _, "check", who, names, _] => Call::Check(id(who), tags(names), line.number(5)),
        [_, _, "peek", who, names, _] => Call::Peek(id(who), tags(names), line.number(5)),
        [_, _, "refund", who, names, _] => Call::Refund(id(who), tags(names), line.number(5)),
        [_, _, "reset", who, names] => Call::Reset(id(who), tags(names)),
        [_, _, "set_scale", _] => Call::Scale(u32::try_from(line.number(3)).expect("few")),
        [_, _, "update_limit", name, ..] => {
            let tag = tag(case, name);
            let algorithm = case.limits[place(tag)].1.algorithm();
            Call::Update(tag, changed(algorithm, &line.options(4)))
        }
        _ => panic!(
            "line {}: expected a known step, got: {words:?}",
            line.number
        ),
    };
    Step {
        line: line.number,
        at_ms: line.number(1),
        call,
        expected,
    }
}

fn tag(case: &Case, name: &str) -> Tag {
    let place = case.names.iter().position(|known| known == name);
    place.expect("a window of the case") as Tag
}

fn limit(algorithm: &str, options: &HashMap<&str, &str>) -> Limit {
    let algorithm = match algorithm {
        "token_bucket" => Algorithm::TokenBucket { burst: None },
        "sliding_window" => Algorithm::SlidingWindow {
            sub_windows: options["sub_windows"].parse().expect("a number"),
        },
        "sliding_log" => Algorithm::SlidingLog,
        "fixed_window" => Algorithm::FixedWindow {
            aligned: options["aligned"].parse().expect("true or false"),
        },
        other => panic!("expected an algorithm, got: {other}"),
    };
    changed(algorithm, options)
}

fn changed(algorithm: Algorithm, options: &HashMap<&str, &str>) -> Limit {
    let number = |name| {
        options
            .get(name)
            .map(|value| value.parse().expect("a number"))
    };
    let algorithm = match algorithm {
        Algorithm::TokenBucket { .. } => Algorithm::TokenBucket {
            burst: number("burst"),
        },
        other => other,
    };
    let per = Duration::from_millis(number("per_ms").expect("a period"));
    Limit::new(number("limit").expect("a limit"), per, algorithm)
}

/// A limit's options as text.
pub(crate) fn options(limit: &Limit) -> String {
    let mut text = format!("limit={} per_ms={}", limit.limit(), limit.per().as_millis());
    match limit.algorithm() {
        Algorithm::TokenBucket { burst: Some(burst) } => write!(text, " burst={burst}"),
        Algorithm::SlidingWindow { sub_windows } => write!(text, " sub_windows={sub_windows}"),
        Algorithm::FixedWindow { aligned } => write!(text, " aligned={aligned}"),
        Algorithm::TokenBucket { burst: None } | Algorithm::SlidingLog => Ok(()),
    }
    .expect("text takes text");
    text
}

/// An answer as text: the verdict, the window that binds, and the usage of each window.
pub(crate) fn answer(names: &[String], asked: &Asked) -> String {
    let Some(binding) = binding(asked) else {
        return String::new();
    };
    let allowed = asked.iter().all(|(_, usage)| usage.allowed());
    let verdict = if allowed { "allowed" } else { "denied" };
    let mut text = format!("{verdict} {}", names[place(binding)]);
    for (tag, usage) in asked {
        let Usage { max, remaining, .. } = usage;
        let next = usage.next_after.as_millis_ceil();
        let reset = usage.reset_after.as_millis_ceil();
        let retry = match usage.retry {
            Retry::Now | Retry::Unenforced(_) => "0".to_owned(),
            Retry::After(wait) => wait.as_millis_ceil().to_string(),
            Retry::Never => "infinity".to_owned(),
        };
        let name = &names[place(*tag)];
        write!(text, " {name}:{max}:{remaining}:{next}:{reset}:{retry}").expect("text takes text");
    }
    text
}

/// Of the windows with the longest wait the one with the least left, and of equal ones the first.
fn binding(asked: &Asked) -> Option<Tag> {
    let longest = asked.iter().map(|(_, usage)| usage.retry).max()?;
    let waiting = asked.iter().filter(|(_, usage)| usage.retry == longest);
    let binding = waiting.min_by_key(|(_, usage)| usage.remaining);
    binding.map(|(tag, _)| *tag)
}
