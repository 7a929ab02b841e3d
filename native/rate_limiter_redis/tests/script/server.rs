//! A Redis server of the test's own. It ends with the test, also with one that fails.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rate_limiter_redis::script;
use redis::{Client, Connection};

/// How long a server may take to start, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
}

impl Server {
    /// Starts one on a socket in a directory of its own: no port to be free, and nobody else finds it.
    pub(crate) fn start(options: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("rate_limiter_redis_{}_{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let spawned = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(directory.join("socket"))
            .arg("--dir")
            .arg(&directory)
            .args(options)
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .spawn();
        let process = spawned.unwrap_or_else(|error| {
            panic!("expected redis-server on the path (Debian: apt-get install redis-server), got: {error}")
        });
        Self { process, directory }
    }

    /// A connection to a server that has the script.
    pub(crate) fn connect(&mut self) -> Connection {
        let url = format!("unix://{}", self.directory.join("socket").display());
        let client = Client::open(url).expect("a socket's address");
        let started = Instant::now();
        let mut connection = loop {
            match client.get_connection() {
                Ok(connection) => break connection,
                Err(error) => {
                    let ended = self.process.try_wait().expect("a child");
                    assert!(ended.is_none(), "redis-server ended: {ended:?}");
                    assert!(started.elapsed() < PATIENCE, "redis-server: {error}");
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        let mut load = redis::cmd("SCRIPT");
        let loaded: String = load
            .arg("LOAD")
            .arg(script::source())
            .query(&mut connection)
            .expect("a script");
        assert_eq!(loaded, script::hash());
        connection
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}
