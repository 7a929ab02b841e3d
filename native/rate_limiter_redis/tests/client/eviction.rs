//! Servers that forget keys when they are full are noticed, beside the calls.

use rate_limiter_distributed::Authority;
use rate_limiter_redis::{Config, Credentials};

use crate::caller::{is_for, patient, Caller, PATIENCE};
use crate::servers::{until, Secured, Server};

const MAXMEMORY: u64 = 100 << 20;

fn evicts(server: &Server, policy: &str) {
    server.tell(&format!("CONFIG SET maxmemory {MAXMEMORY}"));
    server.tell(&format!("CONFIG SET maxmemory-policy {policy}"));
}

fn shown(caller: &Caller) -> Option<String> {
    let servers = caller.client.status().servers;
    servers.into_iter().find_map(|server| server.evicts)
}

#[test]
fn a_policy_that_evicts_is_told_once_and_shown_until_it_is_another() {
    let server = Server::start();
    evicts(&server, "allkeys-lru");
    let caller = Caller::ready(patient(server.endpoint()));
    until("it is noticed", PATIENCE, || {
        shown(&caller).as_deref() == Some("allkeys-lru")
    });
    let told = || caller.told.evictions.lock().unwrap().clone();
    until("it is told", PATIENCE, || !told().is_empty());

    // Connected anew, it is asked again; what is known is not told again.
    let reconnect = || {
        let epoch = caller.client.epoch();
        server.tell("CLIENT KILL TYPE normal SKIPME yes");
        until("it is connected anew", PATIENCE, || {
            caller.ask("x", 1).result.is_ok() && caller.client.epoch() > epoch
        });
    };
    reconnect();
    evicts(&server, "volatile-ttl");
    reconnect();
    until("the other policy is told", PATIENCE, || told().len() > 1);
    let expected = ["allkeys-lru", "volatile-ttl"].map(|policy| (policy.to_owned(), MAXMEMORY));
    assert_eq!(told(), expected);

    evicts(&server, "noeviction");
    reconnect();
    until("it is not shown any more", PATIENCE, || {
        shown(&caller).is_none()
    });
    assert_eq!(told().len(), 2);
}

#[test]
fn who_may_not_ask_is_not_told_and_nothing_breaks() {
    let secured = Secured::start("secret");
    evicts(&secured.server, "allkeys-lru");
    let caller = Caller::ready(Config {
        credentials: Credentials::new(Some(Secured::USER), Some("secret")),
        tls: Some(secured.tls()),
        prefix: "test".into(),
        ..patient(secured.endpoint())
    });
    // What is told of a connection from now on; to make the first may have taken more than one attempt.
    let before = caller.told.connections.lock().unwrap().len();
    let refused = || {
        let log = format!("{:?}", secured.server.tell("ACL LOG"));
        log.contains("info")
    };
    until("it was asked and refused", PATIENCE, refused);
    for cost in 1..=100 {
        let answer = caller.ask(&format!("id{cost}"), cost);
        assert!(is_for(&answer.result.unwrap(), cost));
    }
    assert!(shown(&caller).is_none());
    assert!(caller.told.evictions.lock().unwrap().is_empty());
    let told = caller.told.connections.lock().unwrap();
    assert_eq!(told[before..], [""; 0], "it is connected all the time");
}
