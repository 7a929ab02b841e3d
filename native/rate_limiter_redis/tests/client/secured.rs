//! TLS, users with few permissions, and configurations that cannot start.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use rate_limiter_redis::{Config, Credentials, Endpoint, Identity, SentinelTls, Tls, Topology};

use crate::caller::{is_reply_to, with_long_timeout, Caller, MAX_WAIT};
use crate::servers::{until, Secured, Sentinel, Server};

pub(crate) const PASSWORD: &str = "first-secret";

/// Returns the configuration of a client with TLS and this password.
pub(crate) fn config(secured: &Secured, password: &str) -> Config {
    Config {
        credentials: Credentials::new(Some(Secured::USER), Some(password)),
        tls: Some(secured.tls()),
        prefix: "test".into(),
        ..with_long_timeout(secured.endpoint())
    }
}

fn assert_cannot_connect(config: Config, reason: &str) {
    let caller = Caller::with(config);
    caller.wait_until_open();
    caller.wait_for_connection_event(reason);
}

#[test]
fn a_user_with_least_privileges_is_answered_over_tls() {
    let secured = Secured::start(PASSWORD);
    let caller = Caller::connected(config(&secured, PASSWORD));
    assert!(is_reply_to(&caller.check("x", 5).result.unwrap(), 5));
    secured.server.run("SCRIPT FLUSH");
    assert!(is_reply_to(&caller.check("y", 6).result.unwrap(), 6));
}

#[test]
fn one_of_eval_and_script_load_is_enough() {
    let server = Server::start();
    let rights = "~test:* -@all +evalsha +mget +exists +set +del +time";
    for load in ["+eval", "+script|load"] {
        server.run("SCRIPT FLUSH");
        server.run(&format!(
            "ACL SETUSER limiter reset on >{PASSWORD} {rights} {load}"
        ));
        let caller = Caller::connected(Config {
            credentials: Credentials::new(Some("limiter"), Some(PASSWORD)),
            prefix: "test".into(),
            ..with_long_timeout(server.endpoint())
        });
        assert!(is_reply_to(&caller.check(load, 5).result.unwrap(), 5));
        server.run("SCRIPT FLUSH");
        let again = format!("{load} again");
        assert!(is_reply_to(&caller.check(&again, 6).result.unwrap(), 6));
        assert!(!caller.events.has_connection_event("down"), "{load}");
    }
}

/// Starts a proxy that closes a connection at the first `SCRIPT`, as twemproxy does.
fn without_script(server: &Server) -> Endpoint {
    let (listener, port) = (TcpListener::bind(("127.0.0.1", 0)).unwrap(), server.port);
    let endpoint = Endpoint::tcp("127.0.0.1", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut replies, mut back) =
                (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut replies, &mut back));
            thread::spawn(move || forward(client, server));
        }
    });
    endpoint
}

fn forward(mut client: TcpStream, mut server: TcpStream) {
    let mut bytes = vec![0; 65_536];
    while let Ok(read @ 1..) = client.read(&mut bytes) {
        let refused = b"\r\nSCRIPT\r\n";
        let is_refused = bytes[..read]
            .windows(refused.len())
            .any(|part| part == refused);
        if is_refused || server.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn a_proxy_that_closes_the_connection_at_a_script_command_is_usable() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(without_script(&server)));
    assert!(is_reply_to(&caller.check("x", 5).result.unwrap(), 5));
    server.run("SCRIPT FLUSH");
    assert!(is_reply_to(&caller.check("y", 6).result.unwrap(), 6));
    assert!(!caller.events.has_connection_event("down"));
}

#[test]
fn sentinels_have_tls_settings_of_their_own() {
    let (secured, group) = (Secured::start(PASSWORD), Sentinel::start());
    let topology = |tls| Topology::Sentinel {
        sentinels: group.endpoints(),
        group: Sentinel::GROUP.to_owned(),
        credentials: Credentials::default(),
        tls,
    };
    let with = |tls| Config {
        topology: topology(tls),
        ..config(&secured, PASSWORD)
    };
    // These Sentinels have no TLS.
    assert_cannot_find(with(SentinelTls::Same), "failed");
    // They name a primary, which has no TLS either: the attempt to connect there fails, and not the query.
    let caller = Caller::with(with(SentinelTls::Own(None)));
    until("the primary is known", MAX_WAIT, || {
        caller.client.status().servers.len() == 1 && caller.client.status().problem.is_none()
    });
}

fn assert_cannot_find(config: Config, reason: &str) {
    let caller = Caller::with(config);
    caller.wait_for_connection_event(reason);
    let status = caller.client.status();
    assert!(
        status.servers.is_empty() && status.problem.is_some(),
        "{status:?}"
    );
}

#[test]
fn a_cluster_node_is_accepted_by_its_announced_name() {
    // The certificate is for localhost and 127.0.0.1, and not for this address.
    let secured = Secured::with(
        PASSWORD,
        &[
            &["bind", "127.0.0.1", "127.0.0.2"],
            &["cluster-enabled", "yes"],
            &["cluster-announce-ip", "127.0.0.2"],
            &["cluster-announce-hostname", "localhost"],
        ],
    );
    secured.server.run("CLUSTER ADDSLOTSRANGE 0 16383");
    let rights = "+cluster|slots";
    secured
        .server
        .run(&format!("ACL SETUSER {} {rights}", Secured::USER));
    let caller = Caller::with(Config {
        topology: Topology::Cluster {
            seeds: vec![secured.endpoint()],
        },
        ..config(&secured, PASSWORD)
    });
    caller.wait_until_connected();
    let server = caller.client.status().servers[0].server.clone();
    assert!(server.starts_with("127.0.0.2:"), "{server}");
    caller.assert_counts("x", 5);
}

#[test]
fn an_untrusted_server_or_client_is_refused() {
    let secured = Secured::start(PASSWORD);
    let other = Secured::start(PASSWORD);
    let with = |tls: Tls| Config {
        tls: Some(tls),
        ..config(&secured, PASSWORD)
    };
    let roots = other.tls().roots;
    assert_cannot_connect(
        with(Tls {
            roots: roots.clone(),
            ..secured.tls()
        }),
        "certificate",
    );
    assert_cannot_connect(
        with(Tls {
            identity: None,
            ..secured.tls()
        }),
        "failed",
    );
    let unverified = with(Tls {
        roots,
        verify: false,
        ..secured.tls()
    });
    let caller = Caller::connected(unverified);
    assert!(is_reply_to(&caller.check("x", 5).result.unwrap(), 5));
}

#[test]
fn new_certificates_are_used_for_the_next_connection_and_invalid_ones_are_refused() {
    let secured = Secured::start(PASSWORD);
    let other = Secured::start(PASSWORD);
    let caller = Caller::with(Config {
        tls: Some(other.tls()),
        ..config(&secured, PASSWORD)
    });
    caller.wait_until_open();
    caller.wait_for_connection_event("certificate");
    caller.client.set_tls(&secured.tls()).unwrap();
    caller.assert_counts("x", 5);

    let mismatched = Tls {
        identity: Some(Identity {
            certificate: secured.tls().identity.unwrap().certificate,
            key: other.tls().identity.unwrap().key,
        }),
        ..secured.tls()
    };
    let error = caller.client.set_tls(&mismatched).unwrap_err();
    assert!(error.to_string().starts_with("expected TLS certificates"));
    secured.server.run("CLIENT KILL TYPE normal SKIPME yes");
    caller.assert_counts("y", 6);
}

#[test]
fn an_invalid_configuration_is_an_error_at_the_start() {
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
        ..with_long_timeout(server.clone())
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
