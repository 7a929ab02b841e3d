//! The machine and the versions of a run.

use std::fs::read_to_string;

const LOCK: &str = include_str!("../../Cargo.lock");

/// The machine and the versions.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The model name of its processor.
    pub cpu: String,
    /// The number of hardware threads.
    pub cores: usize,
    /// The operating system's kernel.
    pub kernel: String,
    /// Load averages at this time: more than the benchmark's own threads is noise.
    pub load: String,
    /// The compiler.
    pub rustc: &'static str,
}

impl Machine {
    /// Returns the present machine.
    #[must_use]
    pub fn this() -> Self {
        Self {
            cpu: cpu().unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: first_line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            load: load(),
            rustc: env!("BENCH_RUSTC"),
        }
    }

    /// Returns the version of a crate in the lock file.
    #[must_use]
    pub fn version(crate_name: &str) -> &'static str {
        let head = format!("name = \"{crate_name}\"\nversion = \"");
        LOCK.split_once(&head)
            .and_then(|(_, rest)| rest.split_once('"'))
            .map_or("unknown", |(version, _)| version)
    }
}

fn cpu() -> Option<String> {
    let info = read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, name)| name.to_owned())
}

/// The averages over 1, 5 and 15 minutes.
fn load() -> String {
    let averages = first_line("/proc/loadavg").unwrap_or_else(unknown);
    let three: Vec<&str> = averages.split(' ').take(3).collect();
    three.join(" ")
}

fn first_line(path: &str) -> Option<String> {
    let text = read_to_string(path).ok()?;
    text.lines().next().map(str::to_owned)
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_version_is_in_the_lock_file() {
        assert!(Machine::version("governor").starts_with("0.10."));
        assert_eq!(Machine::version("no such crate"), "unknown");
    }
}
