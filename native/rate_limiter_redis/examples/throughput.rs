//! Measures checks per second through one client to a server of its own, by the number of concurrent callers.
//!
//! ```text
//! cargo run --release -p rate_limiter_redis --example throughput [-- --quick]
//! ```
//!
//! A caller waits for an answer, and makes the next call. Two threads run all callers, as schedulers would. The
//! server's time is that of `INFO cpu`. Client, server and callers share the machine.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::unwrap_used
)] // run by hand

#[path = "../tests/servers/mod.rs"]
mod servers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rate_limiter_core::{Limit, Scale};
use rate_limiter_distributed::{Authority, Call, Meter, Op, WindowCall};
use rate_limiter_redis::{Client, Config, Topology};
use servers::{until, Server};

const IDS: u64 = 100_000;

/// A caller that makes one call after the other.
struct Caller {
    client: Arc<Client>,
    meter: Arc<Meter>,
    next: AtomicU64,
    left: AtomicU64,
    latencies: Sender<Duration>,
    /// The thread that makes the next call.
    scheduler: Sender<Arc<Caller>>,
}

impl Caller {
    fn call(self: Arc<Self>) {
        let id = self.next.fetch_add(7_919, Ordering::Relaxed) % IDS;
        let call = Call {
            key: format!("bench:{{api:{id}}}").into_bytes().into(),
            op: Op::Take,
            cost: 1,
            scale: Scale::ONE,
            windows: Box::new([WindowCall {
                meter: Arc::clone(&self.meter),
                charge: None,
            }]),
            request_id: None,
            receipt: None,
            named: Vec::new(),
        };
        let (caller, start) = (Arc::clone(&self), Instant::now());
        let done = move |result: Result<_, _>| {
            result.unwrap();
            caller.latencies.send(start.elapsed()).unwrap();
            if caller.left.fetch_sub(1, Ordering::Relaxed) > 1 {
                caller.scheduler.clone().send(caller).unwrap();
            }
        };
        assert!(
            self.client.send(call, Box::new(done)).is_ok(),
            "expected the call to be accepted"
        );
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let server = Server::start();
    let mut config = Config::new(Topology::Server(server.endpoint()));
    config.timeout = Duration::from_secs(10);
    let client = Client::start(config, Arc::new(())).unwrap();
    let up = || {
        client
            .status()
            .servers
            .iter()
            .all(|server| server.connections > 0)
    };
    until("the client is connected", Duration::from_secs(10), up);
    println!("callers  checks/s     p50       p99    calls/batch   server us/check");
    for callers in [1, 16, 64, 256, 1024] {
        let checks = if quick { 20_000 } else { 400_000 } / if callers == 1 { 10 } else { 1 };
        run(&server, &client, callers, checks);
    }
}

fn run(server: &Server, client: &Arc<Client>, callers: u64, checks: u64) {
    let limit = Limit::token_bucket(1_000, Duration::from_secs(1));
    let meter = Arc::new(Meter::new("burst", &limit).unwrap());
    let (before, cpu, start) = (client.status().totals, cpu(server), Instant::now());
    let (latencies, all) = channel();
    let schedulers = [(); 2].map(|()| {
        let (scheduler, callers) = channel::<Arc<Caller>>();
        std::thread::spawn(move || callers.iter().for_each(Caller::call));
        scheduler
    });
    for number in 0..callers {
        let caller = Caller {
            client: Arc::clone(client),
            meter: Arc::clone(&meter),
            next: AtomicU64::new(number * 104_729),
            left: AtomicU64::new(checks / callers),
            latencies: latencies.clone(),
            scheduler: schedulers[number as usize % 2].clone(),
        };
        Arc::new(caller).call();
    }
    drop((latencies, schedulers));
    let mut latencies: Vec<Duration> = all.iter().collect();
    let took = start.elapsed().as_secs_f64();
    let after = client.status().totals;
    latencies.sort_unstable();
    let made = latencies.len() as f64;
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    println!(
        "{callers:>7} {:>10.0} {:>8.2?} {:>9.2?} {:>14.1} {:>17.2}",
        made / took,
        at(50),
        at(99),
        made / (after.batches - before.batches) as f64,
        (self::cpu(server) - cpu) * 1e6 / made,
    );
}

/// Returns the processor time of the server in seconds.
fn cpu(server: &Server) -> f64 {
    let info: String = redis::from_redis_value(server.run("INFO cpu")).unwrap();
    let seconds = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|text| text.strip_prefix(':')?.trim().parse::<f64>().ok())
            .unwrap()
    };
    seconds("used_cpu_user") + seconds("used_cpu_sys")
}
