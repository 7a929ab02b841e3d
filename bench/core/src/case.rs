//! The cases: which subjects are compared, under which load.

use std::time::Duration;

use rate_limiter_core::Limit;

use crate::load::Load;
use crate::peer::{quota, GovernorDirect, GovernorKeyed, GovernorTelling};
use crate::subject::{Loop, Ours, Subject};

/// The subject that the others are compared with.
pub const BASE: &str = "ours: token bucket";

/// The loop, which all figures include.
pub const LOOP: &str = "the loop alone";

/// An hour: nothing drains during a run.
const HOUR: Duration = Duration::from_hours(1);

/// Tokens an hour and a burst. The first is for one key with all calls of a run, the other for many keys, which
/// must keep their debt between calls: a bucket that is full again is a cheaper case, and rare.
const FOR_ONE: (u32, u32) = (3_600, 4_000_000_000);
const FOR_EACH: (u32, u32) = (1, 100_000);

/// Subjects under one load.
#[derive(Debug)]
pub struct Case {
    /// Its name in a table.
    pub name: &'static str,
    /// The number of ids.
    pub keys: u32,
    /// The number of threads.
    pub threads: u32,
    /// The subjects.
    pub contenders: Vec<Contender>,
}

/// A subject with a name, of any type: only a whole run is a call through a pointer, never a single check.
pub struct Contender {
    /// Its name in a table.
    pub name: &'static str,
    subject: Box<dyn Run>,
}

trait Run {
    fn run(&self, load: &Load) -> Duration;
    fn fill(&self, load: &Load);
}

impl<S: Subject> Run for S {
    fn run(&self, load: &Load) -> Duration {
        load.run(self)
    }

    fn fill(&self, load: &Load) {
        load.fill(self);
    }
}

impl Contender {
    fn new(name: &'static str, subject: impl Subject + 'static) -> Self {
        let subject = Box::new(subject);
        Self { name, subject }
    }

    /// Runs the load, and returns its duration.
    #[must_use]
    pub fn run(&self, load: &Load) -> Duration {
        self.subject.run(load)
    }

    /// Checks each id of the load once.
    pub fn fill(&self, load: &Load) {
        self.subject.fill(load);
    }
}

impl std::fmt::Debug for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Contender").field(&self.name).finish()
    }
}

/// Returns the cases with at most so many keys and these words in their name. Each is created when it runs, and its
/// memory is freed after it.
pub fn cases(most_keys: u32, words: &str) -> impl Iterator<Item = Case> + '_ {
    type Makes = fn() -> Vec<Contender>;
    const CASES: [(&str, u32, Makes); 5] = [
        ("hot key", 1, hot),
        ("10,000 keys", 10_000, some),
        ("100,000 keys", 100_000, many),
        ("1,000,000 keys", 1_000_000, many),
        ("10,000 keys, denied", 10_000, denied),
    ];
    let with_threads = |case| [1, 2].map(|threads| (case, threads));
    let chosen = CASES
        .into_iter()
        .filter(move |(name, keys, _)| *keys <= most_keys && name.contains(words));
    chosen
        .flat_map(with_threads)
        .map(|((name, keys, contenders), threads)| Case {
            name,
            keys,
            threads,
            contenders: contenders(),
        })
}

fn hot() -> Vec<Contender> {
    let direct = GovernorDirect::new(quota(FOR_ONE));
    let mut contenders = allowed(FOR_ONE);
    contenders.insert(2, Contender::new("governor, direct", direct));
    contenders.push(sliding_log());
    contenders
}

fn some() -> Vec<Contender> {
    let mut contenders = many();
    contenders.push(sliding_log());
    contenders
}

fn many() -> Vec<Contender> {
    allowed(FOR_EACH)
}

fn allowed(rate: (u32, u32)) -> Vec<Contender> {
    let most = u64::from(rate.1);
    let bucket = Limit::token_bucket(rate.0.into(), HOUR).with_burst(most);
    let sliding_window = Limit::sliding_window(most, HOUR);
    let fixed_window = Limit::fixed_window(most, HOUR);
    let telling = GovernorTelling::new(quota(rate));
    vec![
        Contender::new(LOOP, Loop),
        Contender::new(BASE, Ours::new(bucket)),
        Contender::new("governor, String", sip(rate)),
        Contender::new("governor, String, ahash", ahash(rate)),
        Contender::new("governor, String, tells what is left", telling),
        Contender::new("ours: sliding window", Ours::new(sliding_window)),
        Contender::new("ours: fixed window", Ours::new(fixed_window)),
    ]
}

/// So short that stamps expire as fast as they are added: no call is denied, and the log keeps its length.
fn sliding_log() -> Contender {
    let log = Limit::sliding_log(10_000, Duration::from_micros(100));
    Contender::new("ours: sliding log", Ours::new(log))
}

/// One an hour, which the preparation has used.
fn denied() -> Vec<Contender> {
    vec![
        Contender::new(LOOP, Loop),
        Contender::new(BASE, Ours::new(Limit::token_bucket(1, HOUR))),
        Contender::new("governor, String", sip((1, 1))),
        Contender::new("governor, String, ahash", ahash((1, 1))),
        Contender::new(
            "ours: sliding window",
            Ours::new(Limit::sliding_window(1, HOUR)),
        ),
        Contender::new(
            "ours: fixed window",
            Ours::new(Limit::fixed_window(1, HOUR)),
        ),
        Contender::new("ours: sliding log", Ours::new(Limit::sliding_log(1, HOUR))),
    ]
}

fn sip(rate: (u32, u32)) -> GovernorKeyed<std::hash::RandomState> {
    GovernorKeyed::new(quota(rate))
}

fn ahash(rate: (u32, u32)) -> GovernorKeyed<ahash::RandomState> {
    GovernorKeyed::new(quota(rate))
}
