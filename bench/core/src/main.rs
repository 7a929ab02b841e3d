//! `versus [--quick] [--only WORDS_OF_A_CASE] [--json FILE]`: the core beside governor, in turns, as tables in Markdown.

use std::process::ExitCode;

use rate_limiter_bench::{
    cases, ids, judge, measure, Case, Figures, Load, Machine, Table, Verdict, BASE, LOOP,
};
use serde_json::{json, Value};

const PEERS: [&str; 4] = ["governor", "dashmap", "ahash", "quanta"];

/// The options of the command line.
struct Asked {
    size: Size,
    only: String,
    json: Option<String>,
}

impl Asked {
    fn from(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut asked = Self {
            size: FULL,
            only: String::new(),
            json: None,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => asked.size = QUICK,
                "--only" => asked.only = words.next()?,
                "--json" => asked.json = Some(words.next()?),
                _ => return None,
            }
        }
        Some(asked)
    }
}

/// The size of a measurement.
struct Size {
    rounds: usize,
    checks: u32,
    most_keys: u32,
}

const FULL: Size = Size {
    rounds: 11,
    checks: 2_000_000,
    most_keys: 1_000_000,
};

const QUICK: Size = Size {
    rounds: 3,
    checks: 50_000,
    most_keys: 100_000,
};

fn main() -> ExitCode {
    let Some(asked) = Asked::from(std::env::args().skip(1)) else {
        eprintln!("usage: versus [--quick] [--only WORDS_OF_A_CASE] [--json FILE]");
        return ExitCode::FAILURE;
    };
    let results = run(&asked);
    let Some(file) = asked.json else {
        return ExitCode::SUCCESS;
    };
    match std::fs::write(file, format!("{results:#}\n")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the results could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the cases, prints each when it is done, and returns the results.
fn run(asked: &Asked) -> Value {
    let size = &asked.size;
    let machine = Machine::this();
    print_machine(&machine, size);
    let ids = ids(size.most_keys);
    let (mut told, mut verdicts) = (Vec::new(), Vec::new());
    for case in cases(size.most_keys, &asked.only) {
        let load = Load {
            ids: &ids[..case.keys as usize],
            threads: case.threads,
            checks: size.checks,
        };
        let figures = measure(&case.contenders, &load, size.rounds);
        print_case(&case, &figures);
        verdicts.extend(judged(&case, &figures));
        told.push(json_case(&case, &figures));
    }
    print_verdicts(&verdicts);
    println!("Load average at the end: {}.\n", Machine::this().load);
    json!({
        "machine": json_machine(&machine),
        "rounds": size.rounds,
        "checks": size.checks,
        "cases": told,
        "targets": verdicts.iter().map(json_verdict).collect::<Vec<_>>(),
    })
}

fn named(case: &Case) -> String {
    let plural = if case.threads == 1 { "" } else { "s" };
    format!("{}, {} thread{plural}", case.name, case.threads)
}

fn base<'a>(case: &Case, figures: &'a [Figures]) -> &'a Figures {
    let at = case.contenders.iter().position(|one| one.name == BASE);
    &figures[at.expect("every case has the base")]
}

fn judged(case: &Case, figures: &[Figures]) -> Vec<Verdict> {
    let base = base(case, figures);
    let each = case.contenders.iter().zip(figures);
    each.filter_map(|(one, figures)| {
        judge(case.name, case.threads, one.name, base.ratio_to(figures))
    })
    .collect()
}

fn print_machine(machine: &Machine, size: &Size) {
    println!("# Core: `rate_limiter_core` beside `governor`\n");
    println!(
        "{}, {} cores, Linux {}.",
        machine.cpu, machine.cores, machine.kernel
    );
    println!("{}; {}.", machine.rustc, PEERS.map(with_version).join(", "));
    println!("Load average at the start: {}.\n", machine.load);
    println!(
        "Each subject makes {} checks a round and thread, {} rounds in turns, each after an untimed run of half the\n\
         length. One an hour with a burst of 100,000 (hot key: one a second, and 4,000,000,000): nothing is denied where\n\
         nothing else is said, and no bucket fills up again. Ids are strings of 13 bytes, asked in one random order,\n\
         and hashed by each call; governor's clock is `quanta`.\n\
         Nanoseconds are medians, as one thread sees them, the loop included; ratios are medians over the rounds.\n",
        thousands(size.checks),
        size.rounds
    );
}

fn print_case(case: &Case, figures: &[Figures]) {
    println!("### {}\n", named(case));
    let mut table = Table::new(["", "ns a check", "quartiles", "ours : it"]);
    let base = base(case, figures);
    for (one, figures) in case.contenders.iter().zip(figures) {
        let (low, high) = figures.quartiles();
        let ratio = format!("{:.2}", base.ratio_to(figures));
        table.push([
            one.name.to_owned(),
            format!("{:.1}", figures.median()),
            format!("{low:.1} - {high:.1}"),
            if one.name == LOOP {
                String::new()
            } else {
                ratio
            },
        ]);
    }
    println!("{table}");
}

fn print_verdicts(verdicts: &[Verdict]) {
    println!("### Targets of the core\n");
    let mut table = Table::new(["time, as a ratio", "at most", "is", ""]);
    for verdict in verdicts {
        table.push([
            verdict.what.clone(),
            format!("{:.2}", verdict.most),
            format!("{:.2}", verdict.ratio),
            if verdict.met() { "met" } else { "MISSED" }.to_owned(),
        ]);
    }
    println!("{table}");
}

/// Formats a number with separators of thousands.
fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|part| std::str::from_utf8(part).ok())
        .collect();
    parts.join(",")
}

fn with_version(name: &str) -> String {
    format!("{name} {}", Machine::version(name))
}

fn json_machine(machine: &Machine) -> Value {
    json!({
        "cpu": machine.cpu,
        "cores": machine.cores,
        "kernel": machine.kernel,
        "load_at_start": machine.load,
        "rustc": machine.rustc,
        "crates": PEERS.map(with_version),
    })
}

fn json_case(case: &Case, figures: &[Figures]) -> Value {
    let base = base(case, figures);
    let rows: Vec<Value> = case
        .contenders
        .iter()
        .zip(figures)
        .map(|(one, figures)| {
            json!({
                "name": one.name,
                "ns": figures.median(),
                "rounds_ns": figures.rounds,
                "ours_to_it": base.ratio_to(figures),
            })
        })
        .collect();
    json!({ "name": case.name, "keys": case.keys, "threads": case.threads, "subjects": rows })
}

fn json_verdict(verdict: &Verdict) -> Value {
    json!({
        "what": verdict.what,
        "at_most": verdict.most,
        "is": verdict.ratio,
        "met": verdict.met(),
    })
}
