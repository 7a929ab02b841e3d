//! One server.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rate_limiter_redis::Endpoint;

use super::process::{free_port, program, Directory, Process};

/// How long a server may take to start.
const START: Duration = Duration::from_mins(1);

/// A server without a disk, and how to reach it without anything between.
pub(crate) struct Server {
    pub(crate) port: u16,
    arguments: Vec<String>,
    process: Option<Process>,
    pub(crate) directory: Directory,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more settings, each in words: `["maxmemory", "2mb"]`.
    pub(crate) fn with(settings: &[&[&str]]) -> Self {
        let directory = Directory::new();
        let port = free_port();
        let socket = directory.path().join("socket");
        let defaults: [&[&str]; 6] = [
            &["unixsocket", socket.to_str().unwrap()],
            &["save", ""],
            &["appendonly", "no"],
            &["enable-debug-command", "yes"],
            &["protected-mode", "no"],
            &["repl-diskless-sync-delay", "0"],
        ];
        let settings: Vec<_> = defaults.iter().chain(settings).copied().collect();
        Self::run(directory, port, Vec::new(), &settings)
    }

    /// A sentinel that watches over nobody yet. It keeps what it learns in a file.
    pub(crate) fn as_sentinel() -> Self {
        let directory = Directory::new();
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, "").unwrap();
        let first = vec![file.display().to_string(), "--sentinel".to_owned()];
        Self::run(directory, free_port(), first, &[])
    }

    fn run(
        directory: Directory,
        port: u16,
        mut arguments: Vec<String>,
        settings: &[&[&str]],
    ) -> Self {
        let port_text = port.to_string();
        let common: [&[&str]; 3] = [
            &["port", &port_text],
            &["bind", "127.0.0.1"],
            &["dir", directory.path().to_str().unwrap()],
        ];
        for setting in common.iter().chain(settings) {
            arguments.push(format!("--{}", setting[0]));
            arguments.extend(setting[1..].iter().map(ToString::to_string));
        }
        let mut server = Self {
            port,
            arguments,
            process: None,
            directory,
        };
        server.restart();
        server
    }

    /// Starts it again, after it was killed; with nothing of what it had.
    pub(crate) fn restart(&mut self) {
        self.process = Some(Process::start(&program(), &self.arguments));
        self.wait_until_up();
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::tcp("127.0.0.1", self.port)
    }

    pub(crate) fn socket(&self) -> Endpoint {
        Endpoint::Unix(self.directory.path().join("socket"))
    }

    /// Asks it something, in words.
    pub(crate) fn ask(&self, words: &str) -> redis::RedisResult<redis::Value> {
        ask(self.port, words)
    }

    pub(crate) fn command(&self, command: &redis::Cmd) -> redis::RedisResult<redis::Value> {
        command.query(&mut connect(self.port)?)
    }

    /// Asks it something that it cannot refuse.
    pub(crate) fn tell(&self, words: &str) -> redis::Value {
        self.ask(words)
            .unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    /// As if it were taken away from the power.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// It stands still, with its connections open.
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    fn wait_until_up(&self) {
        until("the server is up", START, || self.ask("PING").is_ok());
    }
}

/// Asks the server at a port something, in words.
pub(crate) fn ask(port: u16, words: &str) -> redis::RedisResult<redis::Value> {
    let mut command = redis::Cmd::new();
    for word in words.split(' ') {
        command.arg(word);
    }
    command.query(&mut connect(port)?)
}

fn connect(port: u16) -> redis::RedisResult<redis::Connection> {
    // Without a deadline: with one, a process that is stopped and goes on, as with its whole container, is interrupted.
    redis::Client::open(format!("redis://127.0.0.1:{port}"))?.get_connection()
}

/// Looks again and again until something is so.
pub(crate) fn until(what: &str, within: Duration, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(
            start.elapsed() < within,
            "expected within {within:?}: {what}"
        );
        sleep(Duration::from_millis(2));
    }
}
