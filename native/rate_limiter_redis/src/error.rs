//! What can be wrong with a configuration, and what servers say when they do not do what they are asked.

use redis::RedisError;

/// Why a client cannot be started. Says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No server is named.
    #[error("expected at least one {0}, got: none")]
    NoServer(&'static str),
    /// A cluster has one database.
    #[error("expected database 0, since a cluster has no other, got: {0}")]
    Database(u32),
    /// A number that must not be zero is.
    #[error("expected {0} to be more than zero, got: 0")]
    Zero(&'static str),
    /// Certificates, or the key, cannot be used.
    #[error("expected TLS certificates and keys as PEM, got: {0}")]
    Tls(String),
    /// The system gives no thread.
    #[error("expected the system to start a thread, got: {0}")]
    Thread(String),
}

/// An error of the server's, in its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its first word.
    pub(crate) code: Box<str>,
    /// All of it.
    pub(crate) message: Box<str>,
}

/// What the server said, if it is the server that failed us and not the way to it.
pub(crate) fn refusal(error: &RedisError) -> Option<Refusal> {
    let code = error.code()?;
    let message = match error.detail() {
        Some(detail) => format!("{code} {detail}"),
        None => code.to_owned(),
    };
    Some(Refusal {
        code: code.into(),
        message: message.into(),
    })
}

/// What becomes of calls to which the server answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does not know the script any more, and ran nothing: load it and send them again.
    Load,
    /// They belong elsewhere; for good, or just these while their slot is on the move.
    Elsewhere {
        address: String,
        slot: u16,
        asking: bool,
    },
    /// Their slot is on the move, and some of its keys are here and some there: one by one, and later.
    Later,
    /// It is not to be had: nothing ran.
    Refused(Refusal),
    /// The connection is broken: they may have run.
    Broken(String),
}

impl Fate {
    pub(crate) fn of(error: &RedisError) -> Self {
        let Some(refusal) = refusal(error) else {
            return Self::Broken(error.to_string());
        };
        match &*refusal.code {
            "NOSCRIPT" => Self::Load,
            "TRYAGAIN" => Self::Later,
            code @ ("MOVED" | "ASK") => match error.redirect_node() {
                Some((address, slot)) => Self::Elsewhere {
                    address: address.to_owned(),
                    slot,
                    asking: code == "ASK",
                },
                None => Self::Refused(refusal),
            },
            _ => Self::Refused(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> RedisError {
        let reply = format!("-{line}\r\n");
        let value = redis::parse_redis_value(reply.as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn errors_of_the_server_are_told_apart() {
        assert_eq!(Fate::of(&said("NOSCRIPT No matching script.")), Fate::Load);
        assert_eq!(
            Fate::of(&said("TRYAGAIN Multiple keys request")),
            Fate::Later
        );
        let elsewhere = |asking| Fate::Elsewhere {
            address: "10.0.0.1:6381".into(),
            slot: 3999,
            asking,
        };
        assert_eq!(
            Fate::of(&said("MOVED 3999 10.0.0.1:6381")),
            elsewhere(false)
        );
        assert_eq!(Fate::of(&said("ASK 3999 10.0.0.1:6381")), elsewhere(true));
        for line in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "READONLY You can't write against a read only replica.",
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script.",
            "CLUSTERDOWN Hash slot not served",
            "MASTERDOWN Link with MASTER is down",
            "ERR something else",
        ] {
            let refusal = Refusal {
                code: line.split(' ').next().unwrap().into(),
                message: line.into(),
            };
            assert_eq!(Fate::of(&said(line)), Fate::Refused(refusal));
        }
        let closed = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(Fate::of(&closed), Fate::Broken(_)));
    }
}
