//! A single server.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rate_limiter_redis::Endpoint;

use super::process::{free_port, program, Directory, Process};

/// The maximum time for a server to start.
const START: Duration = Duration::from_mins(1);

/// A server without persistence.
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

    /// Starts a server with additional settings, such as `["maxmemory", "2mb"]`.
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
        Self::launch(directory, port, Vec::new(), &settings)
    }

    /// Starts a Sentinel without a group. It stores its state in its configuration file.
    pub(crate) fn as_sentinel() -> Self {
        let directory = Directory::new();
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, "").unwrap();
        let first = vec![file.display().to_string(), "--sentinel".to_owned()];
        Self::launch(directory, free_port(), first, &[])
    }

    fn launch(
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

    /// Starts the server again after it was killed, without its data.
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

    /// Runs a command, given as words separated by spaces.
    pub(crate) fn try_run(&self, words: &str) -> redis::RedisResult<redis::Value> {
        try_run(self.port, words)
    }

    pub(crate) fn command(&self, command: &redis::Cmd) -> redis::RedisResult<redis::Value> {
        command.query(&mut connect(self.port)?)
    }

    /// Runs a command that must succeed.
    pub(crate) fn run(&self, words: &str) -> redis::Value {
        self.try_run(words)
            .unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    /// Kills the process, as a power failure would.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Stops the process, with its connections open.
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("running").signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("running").signal("CONT");
    }

    fn wait_until_up(&self) {
        until("the server is up", START, || self.try_run("PING").is_ok());
    }
}

/// Runs a command on the server at a port, given as words separated by spaces.
pub(crate) fn try_run(port: u16, words: &str) -> redis::RedisResult<redis::Value> {
    let mut command = redis::Cmd::new();
    for word in words.split(' ') {
        command.arg(word);
    }
    command.query(&mut connect(port)?)
}

fn connect(port: u16) -> redis::RedisResult<redis::Connection> {
    // Without a timeout: its system call would fail with EINTR when the whole container is stopped and continued.
    redis::Client::open(format!("redis://127.0.0.1:{port}"))?.get_connection()
}

/// Polls a condition until it holds. Panics after `within`.
pub(crate) fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < within,
            "expected within {within:?}: {what}"
        );
        sleep(Duration::from_millis(2));
    }
}
