//! A proxy on the loopback interface that delays or holds what a server replies.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rate_limiter_redis::Endpoint;

pub(crate) struct Proxy {
    port: u16,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_held: Mutex<bool>,
    released: Condvar,
}

impl Proxy {
    /// Starts a proxy to a port. Each reply is delayed, as by a long way.
    pub(crate) fn start(to: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                client.set_nodelay(true).unwrap();
                let (requests, replies) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                let gate = Arc::clone(&held);
                thread::spawn(move || copy(requests, server, || {}));
                thread::spawn(move || {
                    copy(replies, client, || {
                        thread::sleep(delay);
                        gate.pass();
                    });
                });
            }
        });
        Self { port, gate }
    }

    pub(crate) fn endpoint(&self, host: &str) -> Endpoint {
        Endpoint::tcp(host, self.port)
    }

    /// Holds all replies from now on. Requests pass.
    pub(crate) fn hold(&self) {
        *self.gate.is_held.lock().unwrap() = true;
    }

    pub(crate) fn release(&self) {
        *self.gate.is_held.lock().unwrap() = false;
        self.gate.released.notify_all();
    }
}

impl Gate {
    fn pass(&self) {
        let held = self.is_held.lock().unwrap();
        drop(self.released.wait_while(held, |held| *held).unwrap());
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, before: impl Fn()) {
    let mut bytes = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        before();
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
