//! What Sentinels announce by themselves: another primary. Polling would learn of it later, and each node at a time of
//! its own, so that some would ask the old primary while others ask the new one.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::Endpoint;
use crate::connection::{auth, open_stream, ConnectError, ConnectOptions};
use crate::credentials::Credentials;

/// The channels: the leader of a failover has seen the promotion; a Sentinel has another primary in its configuration.
const CHANNELS: [&str; 2] = ["+promoted-slave", "+switch-master"];

/// The pause before a Sentinel is listened to again. Polling goes on meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// The same, if it has refused: it would refuse again.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// Listens to all Sentinels, and sends each primary that one of them announces for the group, until the set is dropped.
pub(super) fn listen(
    sentinels: &[Endpoint],
    options: &ConnectOptions,
    credentials: &Credentials,
    group: &str,
    notices: &UnboundedSender<Endpoint>,
) -> JoinSet<()> {
    let listeners = sentinels.iter().map(|sentinel| Listener {
        sentinel: sentinel.clone(),
        options: options.clone(),
        credentials: credentials.clone(),
        group: group.to_owned(),
        notices: notices.clone(),
    });
    listeners.map(Listener::run).collect()
}

/// Why a Sentinel announces nothing any more.
enum Ended {
    Refused,
    Closed,
}

struct Listener {
    sentinel: Endpoint,
    options: ConnectOptions,
    credentials: Credentials,
    group: String,
    notices: UnboundedSender<Endpoint>,
}

impl Listener {
    async fn run(self) {
        loop {
            // An error is reported by the queries, which go to the same Sentinels.
            let pause = match self.subscribe().await {
                Ok(Ended::Refused) => REFUSED_PAUSE,
                Ok(Ended::Closed) | Err(_) => PAUSE,
            };
            sleep(pause).await;
        }
    }

    /// Listens until the connection is closed. The replies to the commands do not look like announcements, so they are
    /// not told apart from them.
    async fn subscribe(&self) -> Result<Ended, ConnectError> {
        let mut stream = open_stream(&self.sentinel, &self.options).await?;
        let mut subscribe = redis::cmd("SUBSCRIBE");
        subscribe.arg(&CHANNELS);
        for command in auth(&self.credentials).into_iter().chain([subscribe]) {
            stream.write_all(&command.get_packed_command()).await?;
        }
        stream.flush().await?;
        let mut lines = BufReader::new(stream).lines();
        while let Some(line) = lines.next_line().await? {
            if line.starts_with('-') {
                return Ok(Ended::Refused);
            }
            if let Some(primary) = announced(&line, &self.group) {
                // Without a receiver this task is about to be aborted.
                let _ = self.notices.send(primary);
            }
        }
        Ok(Ended::Closed)
    }
}

/// Returns the primary that an announcement names for the group:
/// `<group> <old host> <old port> <host> <port>`, or `slave <name> <host> <port> @ <group> <old host> <old port>`.
fn announced(line: &str, group: &str) -> Option<Endpoint> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let ([of, _, _, host, port] | ["slave", _, host, port, "@", of, _, _]) = words[..] else {
        return None;
    };
    let port = port.parse().ok().filter(|_| of == group)?;
    Some(Endpoint::tcp(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_names_the_new_primary_of_its_group() {
        let to = |line| announced(line, "limits").map(|primary| primary.to_string());
        let new = Some(String::from("10.0.0.2:6380"));
        assert_eq!(to("limits 10.0.0.1 6379 10.0.0.2 6380"), new);
        let promoted = "slave 10.0.0.2:6380 10.0.0.2 6380 @ limits 10.0.0.1 6379";
        assert_eq!(to(promoted), new);
        let v6 = to("limits ::1 6379 ::2 6380");
        assert_eq!(v6.as_deref(), Some("[::2]:6380"));
        for line in [
            "others 10.0.0.1 6379 10.0.0.2 6380",
            "slave 10.0.0.2:6380 10.0.0.2 6380 @ others 10.0.0.1 6379",
            "limits 10.0.0.1 6379 10.0.0.2 65536",
            "+switch-master",
            "$34",
            "",
        ] {
            assert_eq!(to(line), None, "{line}");
        }
    }
}
