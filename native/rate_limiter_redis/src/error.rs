//! Errors of a configuration, and the reaction to errors of a server.

use redis::RedisError;

/// Why a client cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The topology names no server.
    #[error("expected at least one {0}, got: none")]
    NoServer(&'static str),
    /// A cluster has only database 0.
    #[error("expected database 0, since a cluster has no other, got: {0}")]
    Database(u32),
    /// A number must not be zero.
    #[error("expected {0} to be more than zero, got: 0")]
    Zero(&'static str),
    /// The certificates, or the key, cannot be used.
    #[error("expected TLS certificates and keys as PEM, got: {0}")]
    Tls(String),
    /// The operating system did not start a thread.
    #[error("expected the system to start a thread, got: {0}")]
    Thread(String),
}

/// An error reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// Its first word.
    pub(crate) code: Box<str>,
    /// The whole reply.
    pub(crate) message: Box<str>,
}

/// Returns the server's error reply, or `None` if the connection failed.
pub(crate) fn server_error(error: &RedisError) -> Option<ServerError> {
    let code = error.code()?;
    let message = match error.detail() {
        Some(detail) => format!("{code} {detail}"),
        None => code.to_owned(),
    };
    Some(ServerError {
        code: code.into(),
        message: message.into(),
    })
}

/// The beginnings of the known answers to `AUTH`, the longest first.
const AUTH_ERRORS: [&str; 16] = [
    "WRONGPASS invalid username-password pair or user is disabled.",
    "WRONGPASS",
    "ERR AUTH <password> called without any password configured for the default user",
    "ERR Client sent AUTH, but no password is set",
    "ERR invalid password",
    "ERR wrong number of arguments for 'auth' command",
    "ERR unknown command 'AUTH'",
    "ERR unknown command `AUTH`",
    "ERR unknown command",
    "ERR max number of clients",
    "ERR",
    "NOPERM",
    "NOAUTH",
    "LOADING",
    "MASTERDOWN",
    "DENIED Redis is running in protected mode",
];

/// Returns an error reply to `AUTH` as one of a few constants: a server may echo the password in its own words, also as
/// the first of them.
pub(crate) fn auth_error(refused: &ServerError) -> &'static str {
    let known = AUTH_ERRORS.iter().find(|known| {
        let rest = refused.message.strip_prefix(**known);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    });
    known.unwrap_or(&"an error of the server's own words, which may repeat the password")
}

/// What happens to calls whose command returned an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The server does not have the script: load it, and send the calls again.
    LoadScript,
    /// Another node owns the slot (`MOVED`), or serves these calls while the slot is moving (`ASK`, `asking`): send
    /// them there.
    Redirect {
        address: String,
        slot: u16,
        asking: bool,
    },
    /// The slot is moving, and its keys are split between two nodes: send the calls again after a delay, one by one.
    Delay,
    /// The server refused the calls; none of them ran.
    Refuse(ServerError),
    /// The connection is broken; the calls may have run.
    Reconnect(String),
}

impl Recovery {
    pub(crate) fn of(error: &RedisError) -> Self {
        let Some(refused) = server_error(error) else {
            return Self::Reconnect(error.to_string());
        };
        match (&*refused.code, error.redirect_node()) {
            ("NOSCRIPT", _) => Self::LoadScript,
            ("TRYAGAIN", _) => Self::Delay,
            (code @ ("MOVED" | "ASK"), Some((address, slot))) => Self::Redirect {
                address: address.to_owned(),
                slot,
                asking: code == "ASK",
            },
            _ => Self::Refuse(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> RedisError {
        let reply = format!("-{line}\r\n");
        let value = redis::parse_redis_value(reply.as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn an_answer_to_auth_is_reported_without_what_it_repeats() {
        let of = |line: &str| auth_error(&server_error(&error(line)).unwrap());
        for (line, reported) in [
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                "WRONGPASS invalid username-password pair or user is disabled.",
            ),
            ("WRONGPASS secret", "WRONGPASS"),
            ("NOPERM User secret has no permissions", "NOPERM"),
            (
                "ERR unknown command 'AUTH', with args beginning with: 'secret'",
                "ERR unknown command 'AUTH'",
            ),
            ("ERR unknown command secret", "ERR unknown command"),
            (
                "ERR max number of clients reached",
                "ERR max number of clients",
            ),
            ("ERR secret", "ERR"),
        ] {
            assert_eq!(of(line), reported);
        }
        for line in ["secret", "secret is wrong", "ERRsecret", "NOPERM1secret x"] {
            assert!(
                of(line).starts_with("an error of the server's own words"),
                "{line}"
            );
        }
    }

    #[test]
    fn each_error_has_its_recovery() {
        let of = |line| Recovery::of(&error(line));
        assert_eq!(of("NOSCRIPT No matching script."), Recovery::LoadScript);
        assert_eq!(of("TRYAGAIN Multiple keys request"), Recovery::Delay);
        let redirect = |asking| Recovery::Redirect {
            address: "10.0.0.1:6381".into(),
            slot: 3999,
            asking,
        };
        assert_eq!(of("MOVED 3999 10.0.0.1:6381"), redirect(false));
        assert_eq!(of("ASK 3999 10.0.0.1:6381"), redirect(true));
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
            let refused = ServerError {
                code: line.split(' ').next().unwrap().into(),
                message: line.into(),
            };
            assert_eq!(of(line), Recovery::Refuse(refused));
        }
        let closed = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(Recovery::of(&closed), Recovery::Reconnect(_)));
    }
}
