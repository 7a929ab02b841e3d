//! The cases of `test/vectors/`, which all implementations answer alike.

#[path = "../../rate_limiter_core/tests/vectors/case.rs"]
mod case;
#[path = "../../rate_limiter_core/tests/model/mod.rs"]
#[allow(unused_imports)] // used elsewhere
mod model;
#[path = "../../rate_limiter_core/tests/rig/mod.rs"]
mod rig;
#[path = "../../rate_limiter_core/tests/vectors/text.rs"]
#[allow(dead_code)] // used by the generator of the vectors
mod text;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rate_limiter_core::{Limit, Nanos, Scale, Tag, Usage};
use rate_limiter_distributed::{Call, Meter, Op, WindowCall};
use rate_limiter_store::{decide, Write};

use crate::case::Step;

/// A limiter whose states are in a map.
struct MapLimiter {
    values: HashMap<Arc<[u8]>, Vec<u8>>,
    meters: Vec<(Tag, Arc<Meter>)>,
    scale: Scale,
}

impl MapLimiter {
    fn new(limits: &[(Tag, Limit)]) -> Self {
        let meters = limits.iter().map(|(tag, limit)| (*tag, meter(*tag, limit)));
        Self {
            values: HashMap::new(),
            meters: meters.collect(),
            scale: Scale::ONE,
        }
    }

    fn call(&mut self, now: u64, call: &model::Call) -> Vec<(Tag, Usage)> {
        let (op, id, tags, cost) = match call {
            model::Call::Check(id, tags, cost) => (Op::Take, id, tags, *cost),
            model::Call::Peek(id, tags, cost) => (Op::Peek, id, tags, *cost),
            model::Call::Refund(id, tags, cost) => (Op::Refund, id, tags, *cost),
            model::Call::Reset(id, tags) => (Op::Reset, id, tags, 0),
            model::Call::Scale(ppm) => {
                self.scale = Scale::from_ppm(*ppm);
                return Vec::new();
            }
            model::Call::Update(tag, limit) => {
                let changed = self.meters.iter_mut().find(|(known, _)| known == tag);
                changed.expect("a known window").1 = meter(*tag, limit);
                return Vec::new();
            }
            model::Call::Sweep => return Vec::new(),
        };
        let selected = self.meters.iter().filter(|(tag, _)| tags.contains(tag));
        let (tags, windows): (Vec<Tag>, Vec<WindowCall>) = selected
            .map(|(tag, meter)| (*tag, (Arc::clone(meter), None)))
            .map(|(tag, (meter, charge))| (tag, WindowCall { meter, charge }))
            .unzip();
        let call = Call {
            key: id.to_string().into_bytes().into(),
            op,
            cost,
            scale: self.scale,
            windows: windows.into(),
            request_id: None,
            receipt: None,
            named: Vec::new(),
        };
        let stored = self.values.get(&call.key).map(Vec::as_slice);
        let mut decision = decide(std::slice::from_ref(&call), stored, Nanos(now));
        match decision.write {
            Write::Keep => {}
            Write::Put(value, _) => drop(self.values.insert(call.key, value)),
            Write::Delete => drop(self.values.remove(&call.key)),
        }
        if op == Op::Reset {
            return Vec::new();
        }
        let reply = decision.replies.remove(0).expect("a state");
        let usages = reply.windows.iter().map(|window| window.usage);
        tags.into_iter().zip(usages).collect()
    }
}

fn meter(tag: Tag, limit: &Limit) -> Arc<Meter> {
    Arc::new(Meter::new(&format!("w{tag}"), limit).expect("a valid limit"))
}

fn run_all(name: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../test/vectors", name]
        .iter()
        .collect();
    let read = std::fs::read_to_string(&path);
    let cases = text::cases(&read.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    assert!(
        cases.len() >= 10,
        "expected cases in {name}, got: {}",
        cases.len()
    );
    for case in &cases {
        let mut limiter = MapLimiter::new(&case.limits);
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

#[test]
fn derived_cases_are_answered_as_calculated_by_hand() {
    run_all("derived.txt");
}

#[test]
fn modelled_cases_are_answered_as_by_the_model() {
    run_all("modelled.txt");
}
