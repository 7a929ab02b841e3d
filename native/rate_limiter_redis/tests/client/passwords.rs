//! Passwords that are wrong, that change, and that are never printed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use rate_limiter_distributed::{
    Authority,
    BreakerState::{Closed, HalfOpen},
};
use rate_limiter_redis::{Config, Credentials, Endpoint, Identity, SentinelTls, Topology};

use crate::caller::{is_reply_to, with_long_timeout, with_short_timeout, Caller, MAX_WAIT};
use crate::secured::{config, PASSWORD};
use crate::servers::{until, Secured, Server};

const OTHER: &str = "second-secret";

/// Returns how often a connection has come up.
fn connections(caller: &Caller) -> usize {
    let events = caller.events.connections.lock().unwrap();
    events.iter().filter(|event| *event == "up").count()
}

#[test]
fn a_wrong_password_is_reported_and_can_be_replaced() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::with(config(&secured, OTHER));
    caller.wait_until_open();
    caller.wait_for_connection_event("refused: WRONGPASS");
    let right = Credentials::new(Some(Secured::USER), Some(PASSWORD));
    caller.client.set_credentials(right);
    until("the breaker closes", MAX_WAIT, || {
        caller.events.breaker_changed(HalfOpen, Closed)
    });
    assert!(is_reply_to(&caller.check("x", 5).result.unwrap(), 5));
}

#[test]
fn a_password_is_replaced_without_a_failed_call() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::connected(config(&secured, PASSWORD));
    assert!(is_reply_to(&caller.check("x", 1).result.unwrap(), 1));
    secured.set_password(OTHER);
    let new = Credentials::new(Some(Secured::USER), Some(OTHER));
    caller.client.set_credentials(new);
    let mut cost = 1;
    until("a new connection is up", MAX_WAIT, || {
        cost += 1;
        assert!(is_reply_to(
            &caller.check(&format!("id{cost}"), cost).result.unwrap(),
            cost
        ));
        connections(&caller) == 2
    });
    assert!(!caller.events.has_connection_event("down"));
    assert_eq!(caller.client.epoch(), 0, "nothing was lost");
    secured.server.run("CLIENT KILL TYPE normal SKIPME yes");
    caller.assert_counts("after", 3);
}

#[test]
fn a_new_password_is_tried_again_after_a_timeout() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::connected(config(&secured, PASSWORD));
    secured.set_password(OTHER);
    secured.server.pause();
    let new = Credentials::new(Some(Secured::USER), Some(OTHER));
    caller.client.set_credentials(new);
    caller.wait_for_connection_event("failed: no answer within");
    secured.server.resume();
    until("a new connection is up", MAX_WAIT, || {
        connections(&caller) == 2
    });
    assert!(!caller.events.has_connection_event("down"));
}

#[test]
fn a_password_that_changed_at_the_server_is_reported_and_can_be_replaced() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::connected(Config {
        timeout: with_short_timeout(secured.endpoint()).timeout,
        ..config(&secured, PASSWORD)
    });
    secured.set_password(OTHER);
    secured.server.run("CLIENT KILL TYPE normal SKIPME yes");
    caller.wait_until_open();
    caller.wait_for_connection_event("refused: WRONGPASS");
    let new = Credentials::new(Some(Secured::USER), Some(OTHER));
    caller.client.set_credentials(new);
    caller.assert_counts("x", 5);
}

#[test]
fn no_secret_is_printed() {
    let secured = Secured::start(PASSWORD);
    let config = config(&secured, OTHER);
    let key = secured
        .tls()
        .identity
        .map(|identity: Identity| identity.key)
        .unwrap();
    let key = String::from_utf8(key).unwrap();
    let of_config = format!("{config:?}");
    let caller = Caller::with(config);
    caller.wait_until_open();
    let (status, events) = (caller.client.status(), &caller.events);
    let printed = format!("{of_config} {:?} {status:?} {events:?}", caller.client);
    assert!(printed.contains("WRONGPASS"), "{printed}");
    for secret in [OTHER, key.lines().nth(1).unwrap()] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

/// Starts a server that answers `AUTH` with this line. `{}` stands for the password that it received.
fn echoing(line: &'static str) -> Endpoint {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let reply = format!("{}\r\n", line.replace("{}", PASSWORD));
            // `PASSWORD` is the last word of the command.
            if lines.any(|read| read.is_ok_and(|read| read == PASSWORD)) {
                let _ = stream.write_all(reply.as_bytes());
            }
        }
    });
    Endpoint::tcp("127.0.0.1", port)
}

/// Checks that a password that was answered in this way is in no event and no status, once `shown` is there.
fn assert_is_secret(config: Config, answer: &str, shown: &str) {
    let sentinel = matches!(config.topology, Topology::Sentinel { .. });
    let caller = Caller::with(config);
    let print = || format!("{:?} {:?}", caller.client.status(), caller.events);
    until(answer, MAX_WAIT, || print().contains(shown));
    if !sentinel {
        caller.wait_until_open();
    }
    assert!(!print().contains(PASSWORD), "{answer}: {}", print());
}

#[test]
fn a_password_that_a_server_repeats_is_not_printed() {
    let credentials = || Credentials::new(Some(Secured::USER), Some(PASSWORD));
    for (answer, shown) in [
        (
            "-ERR unknown command 'AUTH', with args beginning with: 'limiter' '{}'",
            "ERR unknown command 'AUTH'",
        ),
        ("-ERR {} is not the password", "ERR"),
        ("-WRONGPASS no user has {}", "WRONGPASS"),
        ("-NOAUTH {}", "NOAUTH"),
        ("-{} is wrong", "own words"),
        ("-{}", "own words"),
        ("{}", "cannot be read"),
        ("*1\r\n-ERR {}", "ERR"),
        ("$-9{}", "cannot be read"),
    ] {
        let server = Config {
            credentials: credentials(),
            ..with_long_timeout(echoing(answer))
        };
        assert_is_secret(server, answer, shown);
        let sentinels = Topology::Sentinel {
            sentinels: vec![echoing(answer)],
            group: "primary".to_owned(),
            credentials: credentials(),
            tls: SentinelTls::Same,
        };
        assert_is_secret(Config::new(sentinels), answer, shown);
    }
    let server = Server::with(&[&["rename-command", "AUTH", ""]]);
    let renamed = Config {
        credentials: credentials(),
        ..with_long_timeout(server.endpoint())
    };
    assert_is_secret(renamed, "a renamed AUTH", "unknown command 'AUTH'");
}
