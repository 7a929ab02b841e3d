//! Servers that evict keys when their memory is full are detected.

use rate_limiter_distributed::Authority;
use rate_limiter_redis::{Config, Credentials};

use crate::caller::{is_reply_to, with_long_timeout, Caller, MAX_WAIT};
use crate::servers::{until, Secured, Server};

const MAXMEMORY: u64 = 100 << 20;

fn set_policy(server: &Server, policy: &str) {
    server.run(&format!("CONFIG SET maxmemory {MAXMEMORY}"));
    server.run(&format!("CONFIG SET maxmemory-policy {policy}"));
}

fn shown_policy(caller: &Caller) -> Option<String> {
    let servers = caller.client.status().servers;
    servers.into_iter().find_map(|server| server.evicts)
}

#[test]
fn an_evicting_policy_is_reported_once_and_shown_until_it_changes() {
    let server = Server::start();
    set_policy(&server, "allkeys-lru");
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    until("the policy is shown", MAX_WAIT, || {
        shown_policy(&caller).as_deref() == Some("allkeys-lru")
    });
    let reported = || caller.events.evictions.lock().unwrap().clone();
    until("the policy is reported", MAX_WAIT, || {
        !reported().is_empty()
    });

    // The policy is queried after each connection. An unchanged policy is not reported again.
    let reconnect = || {
        let epoch = caller.client.epoch();
        server.run("CLIENT KILL TYPE normal SKIPME yes");
        until("the client is connected again", MAX_WAIT, || {
            caller.check("x", 1).result.is_ok() && caller.client.epoch() > epoch
        });
    };
    reconnect();
    set_policy(&server, "volatile-ttl");
    reconnect();
    until("the new policy is reported", MAX_WAIT, || {
        reported().len() > 1
    });
    let expected = ["allkeys-lru", "volatile-ttl"].map(|policy| (policy.to_owned(), MAXMEMORY));
    assert_eq!(reported(), expected);

    set_policy(&server, "noeviction");
    reconnect();
    until("the policy is not shown any more", MAX_WAIT, || {
        shown_policy(&caller).is_none()
    });
    assert_eq!(reported().len(), 2);
}

#[test]
fn a_user_without_access_to_info_gets_no_event_and_keeps_its_connection() {
    let secured = Secured::start("secret");
    set_policy(&secured.server, "allkeys-lru");
    let caller = Caller::connected(Config {
        credentials: Credentials::new(Some(Secured::USER), Some("secret")),
        tls: Some(secured.tls()),
        prefix: "test".into(),
        ..with_long_timeout(secured.endpoint())
    });
    // Only later events count: the first connection may have taken more than one attempt.
    let before = caller.events.connections.lock().unwrap().len();
    let refused = || {
        let log = format!("{:?}", secured.server.run("ACL LOG"));
        log.contains("info")
    };
    until("the query was refused", MAX_WAIT, refused);
    for cost in 1..=100 {
        let answer = caller.check(&format!("id{cost}"), cost);
        assert!(is_reply_to(&answer.result.unwrap(), cost));
    }
    assert!(shown_policy(&caller).is_none());
    assert!(caller.events.evictions.lock().unwrap().is_empty());
    let events = caller.events.connections.lock().unwrap();
    assert_eq!(events[before..], [""; 0], "expected no reconnection");
}
