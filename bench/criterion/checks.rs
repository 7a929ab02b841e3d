//! The cases of `versus` with criterion's statistics, one subject after the other.

use std::hint::black_box;
use std::time::Duration;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use rate_limiter_bench::{cases, ids, Load};

fn checks(criterion: &mut Criterion) {
    let most_keys = most_keys();
    let ids = ids(most_keys);
    for case in cases(most_keys, "") {
        let title = format!("{}, threads: {}", case.name, case.threads);
        let mut group = criterion.benchmark_group(title);
        group.throughput(Throughput::Elements(1));
        for contender in &case.contenders {
            let load = |checks| Load {
                ids: &ids[..case.keys as usize],
                threads: case.threads,
                checks,
            };
            group.bench_function(contender.name, |bencher| {
                contender.fill(&load(0));
                bencher.iter_custom(|checks| {
                    let checks = u32::try_from(checks).expect("a sample is shorter than that");
                    black_box(contender.run(&load(checks)))
                });
            });
        }
        group.finish();
    }
}

/// Fewer for a quick run of criterion.
fn most_keys() -> u32 {
    let brief = |word: String| word == "--test" || word == "--quick";
    if std::env::args().any(brief) {
        100_000
    } else {
        1_000_000
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = checks
}
criterion_main!(benches);
