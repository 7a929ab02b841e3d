//! One connection: connected, authenticated, and checked before calls are sent.

mod stream;
mod tls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rate_limiter_distributed::Call;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::Endpoint;
use crate::credentials::Credentials;
use crate::error::{auth_error, server_error, ServerError};
use crate::server_kind::ServerKind;
use crate::{script, wire};

pub(crate) use tls::Encryption;

/// The maximum time to connect, authenticate and check a server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Replies to the commands of one batch, in their order.
pub(crate) type Replies = Result<Vec<Value>, RedisError>;

/// A connection that carries commands. Dropping it closes it, even with commands in flight.
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    driver: AbortHandle,
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
}

impl Connection {
    /// Connects and authenticates.
    pub(crate) async fn connect(
        endpoint: &Endpoint,
        options: &ConnectOptions,
        credentials: &Credentials,
    ) -> Result<(Self, JoinHandle<()>), ConnectError> {
        in_time(Self::open(endpoint, options, credentials)).await
    }

    /// Connects, authenticates, and runs the real script: only its success shows that calls will run.
    pub(crate) async fn connect_checked(
        endpoint: &Endpoint,
        options: &ConnectOptions,
        credentials: &Credentials,
        health_check: &Call,
        kind: &ServerKind,
    ) -> Result<(Self, JoinHandle<()>), ConnectError> {
        let checked = async {
            let (connection, driver) = Self::open(endpoint, options, credentials).await?;
            if matches!(kind, ServerKind::Primary { .. }) {
                connection.check_primary().await?;
            }
            connection.check_health(health_check, kind).await?;
            Ok((connection, driver))
        };
        in_time(checked).await
    }

    async fn open(
        endpoint: &Endpoint,
        options: &ConnectOptions,
        credentials: &Credentials,
    ) -> Result<(Self, JoinHandle<()>), ConnectError> {
        let stream = stream::connect(endpoint, options.encryption.as_ref()).await?;
        // The server's task keeps the deadlines, and `authenticate` below reports refused credentials as such.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (inner, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let driver = tokio::spawn(driver);
        let connection = Self {
            inner,
            driver: driver.abort_handle(),
        };
        connection.authenticate(credentials).await?;
        if options.database != 0 {
            let mut select = redis::cmd("SELECT");
            connection.query(select.arg(options.database)).await?;
        }
        Ok((connection, driver))
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<(), ConnectError> {
        let Some(password) = credentials.password() else {
            return Ok(());
        };
        let mut auth = redis::cmd("AUTH");
        if let Some(username) = credentials.username() {
            auth.arg(username);
        }
        match self.query(auth.arg(password)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match server_error(&error) {
                Some(refused) => ConnectError::Credentials(auth_error(&refused).into()),
                None if error.is_io_error() => error.into(),
                // The words of the parser may repeat the bytes.
                None => ConnectError::Failed("the answer to AUTH cannot be read".into()),
            }),
        }
    }

    /// Checks that the server is a primary, before anything is written: a replica may accept writes, too.
    async fn check_primary(&self) -> Result<(), ConnectError> {
        match self.query(&redis::cmd("ROLE")).await {
            Ok(Value::Array(role)) => match role.first() {
                Some(Value::BulkString(role)) if role != b"master" => {
                    Err(ConnectError::not_primary(&String::from_utf8_lossy(role)))
                }
                _ => Ok(()),
            },
            Ok(_) => Ok(()),
            // A user without access to ROLE usually learns it from the first refused write.
            Err(error) if error.code() == Some("NOPERM") => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs the real script, and loads it if the server does not have it.
    pub(crate) async fn check_health(
        &self,
        health_check: &Call,
        kind: &ServerKind,
    ) -> Result<(), ConnectError> {
        let command = wire::encode(std::iter::once(health_check), None);
        let mut result = self.query(&command).await;
        // With `MOVED` the server may lack the script, too: it checks the slot first.
        let may_lack_script = has_code(&result, "NOSCRIPT") || has_code(&result, "MOVED");
        if has_code(&result, "NOSCRIPT") {
            // First, since a proxy may close the connection at a `SCRIPT`. Others refuse `EVAL`.
            let command = wire::encode_with_source(std::iter::once(health_check));
            result = self.query(&command).await;
        }
        let is_refused = |error: &RedisError| error.code().is_some();
        if may_lack_script && result.as_ref().is_err_and(is_refused) {
            let mut load = redis::cmd("SCRIPT");
            self.query(load.arg("LOAD").arg(script::source())).await?;
            result = self.query(&command).await;
        }
        if has_code(&result, "MOVED") {
            // The slot of the health check has moved. A cluster's node works and redirects its calls.
            return match kind {
                ServerKind::Shard { .. } => Ok(()),
                ServerKind::Single | ServerKind::Primary { .. } => Err(ConnectError::cluster()),
            };
        }
        let reply = wire::decode(std::iter::once(health_check), &result?).pop();
        match reply {
            Some(Ok(_)) => Ok(()),
            other => Err(ConnectError::Failed(format!(
                "expected an answer of the script, got: {other:?}"
            ))),
        }
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
        Box::pin(async move {
            let mut inner = connection.inner.clone();
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
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn has_code(result: &Result<Value, RedisError>, code: &str) -> bool {
    let error = result.as_ref().err();
    error.is_some_and(|error| error.code() == Some(code))
}

async fn in_time<T>(
    attempt: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let late = |_| ConnectError::Failed(format!("no answer within {CONNECT_TIMEOUT:?}"));
    let result = tokio::time::timeout(CONNECT_TIMEOUT, attempt).await;
    result.map_err(late)?
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
            None => Self::Failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for ConnectError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
