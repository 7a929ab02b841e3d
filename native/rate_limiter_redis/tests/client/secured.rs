//! Encryption, users, and passwords that change: and that nobody sees them.

use rate_limiter_distributed::{
    Authority,
    BreakerState::{Closed, HalfOpen},
};
use rate_limiter_redis::{Config, Credentials, Identity, Tls, Topology};

use crate::caller::{hasty, is_for, patient, Caller, PATIENCE};
use crate::servers::{until, Secured};

const PASSWORD: &str = "first-secret";
const OTHER: &str = "second-secret";

fn config(secured: &Secured, password: &str) -> Config {
    Config {
        credentials: Credentials::new(Some(Secured::USER), Some(password)),
        tls: Some(secured.tls()),
        prefix: "test".into(),
        ..patient(secured.endpoint())
    }
}

/// How many connections have come up.
fn ups(caller: &Caller) -> usize {
    let told = caller.told.connections.lock().unwrap();
    told.iter().filter(|told| *told == "up").count()
}

fn cannot_connect(config: Config, because: &str) {
    let caller = Caller::with(config);
    caller.wait_until_open();
    caller.wait_until_heard(because);
}

#[test]
fn encrypted_and_with_the_least_rights_calls_are_answered() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::ready(config(&secured, PASSWORD));
    assert!(is_for(&caller.ask("x", 5).result.unwrap(), 5));
    secured.server.tell("SCRIPT FLUSH");
    assert!(is_for(&caller.ask("y", 6).result.unwrap(), 6));
}

#[test]
fn who_is_not_trusted_is_not_spoken_to() {
    let secured = Secured::start(PASSWORD);
    let stranger = Secured::start(PASSWORD);
    let with = |tls: Tls| Config {
        tls: Some(tls),
        ..config(&secured, PASSWORD)
    };
    let roots = stranger.tls().roots;
    cannot_connect(
        with(Tls {
            roots: roots.clone(),
            ..secured.tls()
        }),
        "certificate",
    );
    cannot_connect(
        with(Tls {
            identity: None,
            ..secured.tls()
        }),
        "failed",
    );
    let trusting = with(Tls {
        roots,
        verify: false,
        ..secured.tls()
    });
    let caller = Caller::ready(trusting);
    assert!(is_for(&caller.ask("x", 5).result.unwrap(), 5));
}

#[test]
fn a_wrong_password_is_told_apart_and_can_be_replaced() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::with(config(&secured, OTHER));
    caller.wait_until_open();
    caller.wait_until_heard("refused: WRONGPASS");
    let right = Credentials::new(Some(Secured::USER), Some(PASSWORD));
    caller.client.set_credentials(right);
    until("the breaker closes", PATIENCE, || {
        caller.told.turned(HalfOpen, Closed)
    });
    assert!(is_for(&caller.ask("x", 5).result.unwrap(), 5));
}

#[test]
fn a_password_is_replaced_under_way_and_no_call_notices() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::ready(config(&secured, PASSWORD));
    assert!(is_for(&caller.ask("x", 1).result.unwrap(), 1));
    secured.set_password(OTHER);
    let new = Credentials::new(Some(Secured::USER), Some(OTHER));
    caller.client.set_credentials(new);
    let mut cost = 1;
    until("there is a new connection", PATIENCE, || {
        cost += 1;
        assert!(is_for(
            &caller.ask(&format!("id{cost}"), cost).result.unwrap(),
            cost
        ));
        ups(&caller) == 2
    });
    assert!(!caller.told.heard("down"));
    assert_eq!(caller.client.epoch(), 0, "nothing was lost");
    secured.server.tell("CLIENT KILL TYPE normal SKIPME yes");
    caller.assert_counts("after", 3);
}

#[test]
fn a_password_that_a_server_had_no_time_for_is_tried_again() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::ready(config(&secured, PASSWORD));
    secured.set_password(OTHER);
    secured.server.pause();
    let new = Credentials::new(Some(Secured::USER), Some(OTHER));
    caller.client.set_credentials(new);
    caller.wait_until_heard("failed: no answer within");
    secured.server.resume();
    until("there is a new connection", PATIENCE, || ups(&caller) == 2);
    assert!(!caller.told.heard("down"));
}

#[test]
fn a_password_that_was_changed_behind_our_back_is_asked_for_and_taken() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::ready(Config {
        timeout: hasty(secured.endpoint()).timeout,
        ..config(&secured, PASSWORD)
    });
    secured.set_password(OTHER);
    secured.server.tell("CLIENT KILL TYPE normal SKIPME yes");
    caller.wait_until_open();
    caller.wait_until_heard("refused: WRONGPASS");
    let new = Credentials::new(Some(Secured::USER), Some(OTHER));
    caller.client.set_credentials(new);
    caller.assert_counts("x", 5);
}

#[test]
fn certificates_are_replaced_for_the_next_connection_and_useless_ones_are_not_taken() {
    let secured = Secured::start(PASSWORD);
    let stranger = Secured::start(PASSWORD);
    let caller = Caller::with(Config {
        tls: Some(stranger.tls()),
        ..config(&secured, PASSWORD)
    });
    caller.wait_until_open();
    caller.wait_until_heard("certificate");
    caller.client.set_tls(&secured.tls()).unwrap();
    caller.assert_counts("x", 5);

    let mismatched = Tls {
        identity: Some(Identity {
            certificate: secured.tls().identity.unwrap().certificate,
            key: stranger.tls().identity.unwrap().key,
        }),
        ..secured.tls()
    };
    let error = caller.client.set_tls(&mismatched).unwrap_err();
    assert!(error.to_string().starts_with("expected TLS certificates"));
    secured.server.tell("CLIENT KILL TYPE normal SKIPME yes");
    caller.assert_counts("y", 6);
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
    let (status, told) = (caller.client.status(), &caller.told);
    let printed = format!("{of_config} {:?} {status:?} {told:?}", caller.client);
    assert!(printed.contains("WRONGPASS"), "{printed}");
    for secret in [OTHER, key.lines().nth(1).unwrap()] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn what_cannot_be_is_said_at_the_start() {
    let server = rate_limiter_redis::Endpoint::tcp("localhost", 1);
    let start = |config| {
        let started = rate_limiter_redis::Client::start(config, std::sync::Arc::new(()));
        started.map(drop).unwrap_err().to_string()
    };
    let tls = Tls {
        roots: Some(b"nonsense".to_vec()),
        identity: None,
        verify: true,
    };
    let wrong = Config {
        tls: Some(tls),
        ..patient(server.clone())
    };
    assert!(start(wrong).starts_with("expected TLS certificates"));
    let cluster = |seeds| Config::new(Topology::Cluster { seeds });
    assert_eq!(
        start(cluster(Vec::new())),
        "expected at least one node of the cluster, got: none"
    );
    let numbered = Config {
        database: 2,
        ..cluster(vec![server])
    };
    assert_eq!(
        start(numbered),
        "expected database 0, since a cluster has no other, got: 2"
    );
}
