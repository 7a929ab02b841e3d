//! One connection: connected, authenticated, and checked before calls are sent.

mod budget;
mod setup;
mod stream;
mod tls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rate_limiter_distributed::Call;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::Endpoint;
use crate::credentials::Credentials;
use crate::error::{server_error, ServerError};
use crate::server_kind::ServerKind;

use budget::Budget;

pub(crate) use setup::auth;
pub(crate) use tls::Encryption;

/// Replies to the commands of one batch, in their order.
pub(crate) type Replies = Result<Vec<Value>, RedisError>;

/// A connection that carries commands. Dropping it closes it, even with commands in flight.
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    driver: AbortHandle,
    /// The time from the first command to its reply, if the server was checked.
    pub(crate) round_trip: Duration,
}

/// Why an attempt to connect failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// There is no connection, with the reason.
    Failed(String),
    /// The server refused the credentials, with its message.
    Credentials(String),
    /// The server refused the check: it would not run the script now.
    Refused(ServerError),
}

/// How to connect, except for the address and the credentials.
#[derive(Clone, Debug)]
pub(crate) struct ConnectOptions {
    pub(crate) encryption: Option<Encryption>,
    pub(crate) database: u32,
    /// The maximum time of an attempt to connect, with all its steps.
    pub(crate) connect_timeout: Duration,
}

/// Connects, and sends nothing.
pub(crate) async fn open_stream(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin, ConnectError> {
    let budget = Budget::new(options.connect_timeout);
    stream::connect(endpoint, options.encryption.as_ref(), &budget).await
}

impl Connection {
    /// Connects, authenticates, and sends a command. Returns its reply, too.
    pub(crate) async fn connect(
        endpoint: &Endpoint,
        options: &ConnectOptions,
        credentials: &Credentials,
        command: Cmd,
    ) -> Result<(Self, JoinHandle<()>, Value), ConnectError> {
        let budget = Budget::new(options.connect_timeout);
        let (connection, end) = Self::open(endpoint, options, &budget).await?;
        let signed_in = connection.sign_in(options, credentials, command);
        let reply = budget.step("the first reply", signed_in).await??;
        Ok((connection, end, reply))
    }

    /// Connects, authenticates, and runs the real script: only its success shows that calls will run.
    pub(crate) async fn connect_checked(
        endpoint: &Endpoint,
        options: &ConnectOptions,
        credentials: &Credentials,
        health_check: &Call,
        kind: &ServerKind,
    ) -> Result<(Self, JoinHandle<()>), ConnectError> {
        let budget = Budget::new(options.connect_timeout);
        let (mut connection, end) = Self::open(endpoint, options, &budget).await?;
        let is_primary = matches!(kind, ServerKind::Primary { .. });
        let first = if is_primary {
            redis::cmd("ROLE")
        } else {
            setup::script(health_check)
        };
        let start = Instant::now();
        let signed_in = connection.sign_in(options, credentials, first);
        let reply = budget.step("the first reply", signed_in).await?;
        connection.round_trip = start.elapsed();
        let checked = async {
            if is_primary {
                setup::check_role(reply)?;
                return connection.check_health(health_check, kind).await;
            }
            connection.check_reply(reply, health_check, kind).await
        };
        budget.step("the script", checked).await?;
        Ok((connection, end))
    }

    async fn open(
        endpoint: &Endpoint,
        options: &ConnectOptions,
        budget: &Budget,
    ) -> Result<(Self, JoinHandle<()>), ConnectError> {
        let stream = stream::connect(endpoint, options.encryption.as_ref(), budget).await?;
        // The server's task keeps the deadlines, and `sign_in` reports refused credentials as such.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (inner, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let driver = tokio::spawn(driver);
        let connection = Self {
            inner,
            driver: driver.abort_handle(),
            round_trip: Duration::ZERO,
        };
        Ok((connection, driver))
    }

    /// Sends one command. An error of the server is an error.
    pub(crate) async fn query(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut inner = self.inner.clone();
        let value = inner.send_packed_command(command).await?;
        value.extract_error()
    }

    /// Sends commands together. Errors of the server are values among the replies.
    pub(crate) fn send(
        self: &Arc<Self>,
        commands: Vec<Cmd>,
    ) -> Pin<Box<dyn Future<Output = Replies> + Send>> {
        // Keeps the connection open until the replies arrive.
        let connection = Arc::clone(self);
        Box::pin(async move { connection.pipeline(commands).await })
    }

    async fn pipeline(&self, commands: Vec<Cmd>) -> Replies {
        let mut inner = self.inner.clone();
        if let [command] = commands.as_slice() {
            let value = inner.send_packed_command(command).await?;
            return Ok(vec![value]);
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        let count = commands.len();
        for command in commands {
            pipeline.add_command(command);
        }
        inner.send_packed_commands(&pipeline, 0, count).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl ConnectError {
    fn cluster() -> Self {
        Self::Refused(ServerError {
            code: "MOVED".into(),
            message: "MOVED: expected one server, got: a node of a cluster; name its nodes as such"
                .into(),
        })
    }

    fn not_primary(role: &str) -> Self {
        let message =
            format!("expected a primary, got: a {role}; the Sentinel that named it is behind");
        Self::Refused(ServerError {
            code: "ROLE".into(),
            message: message.into(),
        })
    }

    /// An error that repeats our arguments is not UTF-8, and may contain the password.
    fn unreadable() -> Self {
        let reason = "the first reply cannot be read: expected a Redis that runs scripts by EVALSHA, got: a Sentinel, \
                      a server that refuses EVALSHA, or another program";
        Self::Failed(reason.into())
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Failed(reason) | Self::Credentials(reason) => reason,
            Self::Refused(error) => &error.message,
        }
    }
}

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> Self {
        match server_error(&error) {
            Some(refused) if matches!(&*refused.code, "NOAUTH" | "WRONGPASS") => {
                Self::Credentials(refused.message.into())
            }
            Some(refused) => Self::Refused(refused),
            None if error.kind() == ErrorKind::Parse => Self::unreadable(),
            None => Self::Failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for ConnectError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
