//! The process of a server.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Starts the command in its arguments, prints its process id, and kills it at the end of the input.
const GUARD: &str =
    r#""$@" >/dev/null 2>&1 </dev/null & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null"#;

/// A process, killed when it is dropped.
pub(crate) struct Process {
    guard: Child,
    pid: u32,
}

impl Process {
    pub(crate) fn start(program: &str, arguments: &[String]) -> Self {
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard", program])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let mut line = String::new();
        let output = guard.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).unwrap();
        let pid = line
            .trim()
            .parse()
            .expect("the shell prints the process id");
        Self { guard, pid }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid.to_string()])
            .status();
        assert!(
            status.unwrap().success(),
            "expected {name} to reach the server"
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Returns a port that is free at this moment, and that this process returns only once. It is below the range of
/// outgoing connections, one of which could otherwise take it before the server does.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static RETURNED: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(997);
    loop {
        let number = RETURNED.fetch_add(1, Ordering::Relaxed);
        assert!(
            number < COUNT,
            "expected a free port below {}",
            FIRST + COUNT
        );
        let port = u16::try_from(FIRST + start.wrapping_add(number) % COUNT).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Returns the server's program: `redis-server`, or the value of `REDIS_SERVER`.
pub(crate) fn program() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into())
}

/// A temporary directory, removed when it is dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rate_limiter_{}_{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
