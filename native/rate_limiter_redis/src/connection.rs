//! One connection: made, greeted, and tried before anybody relies on it.

mod stream;
mod tls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::Endpoint;
use crate::credentials::Credentials;
use crate::error::{refusal, Refusal};
use crate::{script, wire};
use rate_limiter_distributed::Call;

pub(crate) use tls::Encryption;

/// How long connecting may take, with all that is said before the first call.
const CONNECTING: Duration = Duration::from_secs(1);

/// Replies to the commands of one flight, in their order.
pub(crate) type Replies = Result<Vec<Value>, RedisError>;

/// A connection that carries commands. Closed when it is dropped, whatever is under way.
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    driver: AbortHandle,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It could not be made: why.
    Failed(String),
    /// The server does not take the credentials.
    Credentials(String),
    /// The server does not run the script now.
    Unfit(Refusal),
}

/// What a server is among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Station {
    /// The only one.
    Alone,
    /// A primary, as a Sentinel says.
    Named,
    /// One of a cluster's primaries.
    Sharded,
}

/// What connecting needs to know besides where.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) encryption: Option<Encryption>,
    pub(crate) database: u32,
}

impl Connection {
    /// Connects and says who we are.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        manner: &Manner,
        credentials: &Credentials,
    ) -> Result<(Self, JoinHandle<()>), Trouble> {
        let opening = Self::introduce(endpoint, manner, credentials);
        within(opening).await
    }

    /// Connects, says who we are, and has the real script run: only then is it known that calls can.
    pub(crate) async fn raise(
        endpoint: &Endpoint,
        manner: &Manner,
        credentials: &Credentials,
        probe: &Call,
        station: Station,
    ) -> Result<(Self, JoinHandle<()>), Trouble> {
        let raising = async {
            let (connection, driver) = Self::introduce(endpoint, manner, credentials).await?;
            if station == Station::Named {
                connection.check_primary().await?;
            }
            connection.greet(probe, station).await?;
            Ok((connection, driver))
        };
        within(raising).await
    }

    async fn introduce(
        endpoint: &Endpoint,
        manner: &Manner,
        credentials: &Credentials,
    ) -> Result<(Self, JoinHandle<()>), Trouble> {
        let stream = stream::connect(endpoint, manner.encryption.as_ref()).await?;
        // Deadlines are the lane's; and what is said on connecting is said below, in our words.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let nothing = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (inner, driver) =
            MultiplexedConnection::new_with_config(&nothing, stream, config).await?;
        let driver = tokio::spawn(driver);
        let connection = Self {
            inner,
            driver: driver.abort_handle(),
        };
        connection.sign_in(credentials).await?;
        if manner.database != 0 {
            let mut select = redis::cmd("SELECT");
            connection.ask(select.arg(manner.database)).await?;
        }
        Ok((connection, driver))
    }

    async fn sign_in(&self, credentials: &Credentials) -> Result<(), Trouble> {
        let Some(password) = credentials.password() else {
            return Ok(());
        };
        let mut auth = redis::cmd("AUTH");
        if let Some(username) = credentials.username() {
            auth.arg(username);
        }
        match self.ask(auth.arg(password)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match refusal(&error) {
                Some(Refusal { message, .. }) => Trouble::Credentials(message.into()),
                None => error.into(),
            }),
        }
    }

    /// Makes sure that it is a primary, before anything is written: one that takes writes need not be.
    async fn check_primary(&self) -> Result<(), Trouble> {
        match self.ask(&redis::cmd("ROLE")).await {
            Ok(Value::Array(role)) => match role.first() {
                Some(Value::BulkString(word)) if word != b"master" => {
                    Err(Trouble::demoted(&String::from_utf8_lossy(word)))
                }
                _ => Ok(()),
            },
            Ok(_) => Ok(()),
            // Who may not ask learns it from the first write, as a rule.
            Err(error) if error.code() == Some("NOPERM") => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the real script run, loading it if the server does not have it. One of a cluster may say that it should run
    /// elsewhere.
    pub(crate) async fn greet(&self, probe: &Call, station: Station) -> Result<(), Trouble> {
        let command = wire::encode(std::iter::once(probe), None);
        let mut result = self.ask(&command).await;
        if said(&result, "NOSCRIPT") || said(&result, "MOVED") {
            let mut load = redis::cmd("SCRIPT");
            self.ask(load.arg("LOAD").arg(script::source())).await?;
            result = self.ask(&command).await;
        }
        if said(&result, "MOVED") {
            // Slots are moving from here, or to here: it works, and says what is whose.
            return if station == Station::Sharded {
                Ok(())
            } else {
                Err(Trouble::cluster())
            };
        }
        let reply = wire::decode(std::iter::once(probe), &result?).pop();
        match reply {
            Some(Ok(_)) => Ok(()),
            other => Err(Trouble::Failed(format!(
                "expected an answer of the script, got: {other:?}"
            ))),
        }
    }

    /// Asks one thing. An error of the server is an error.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut inner = self.inner.clone();
        let value = inner.send_packed_command(command).await?;
        value.extract_error()
    }

    /// Sends commands together. Errors of the server are values among the replies.
    pub(crate) fn fly(
        self: &Arc<Self>,
        commands: Vec<Cmd>,
    ) -> Pin<Box<dyn Future<Output = Replies> + Send>> {
        // Held until the replies are there: when nobody holds it any more, it is closed.
        let held = Arc::clone(self);
        Box::pin(async move {
            let mut inner = held.inner.clone();
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

fn said(result: &Result<Value, RedisError>, code: &str) -> bool {
    let error = result.as_ref().err();
    error.is_some_and(|error| error.code() == Some(code))
}

async fn within<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = |_| Trouble::Failed(format!("no answer within {CONNECTING:?}"));
    tokio::time::timeout(CONNECTING, work).await.map_err(late)?
}

impl Trouble {
    fn cluster() -> Self {
        Self::Unfit(Refusal {
            code: "MOVED".into(),
            message: "MOVED: expected one server, got: a node of a cluster; name its nodes as such"
                .into(),
        })
    }

    fn demoted(role: &str) -> Self {
        Self::Unfit(Refusal {
            code: "ROLE".into(),
            message: format!(
                "expected a primary, got: a {role}; the Sentinel that named it is behind"
            )
            .into(),
        })
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Failed(reason) | Self::Credentials(reason) => reason,
            Self::Unfit(refusal) => &refusal.message,
        }
    }
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        match refusal(&error) {
            Some(refusal) if matches!(&*refusal.code, "NOAUTH" | "WRONGPASS") => {
                Self::Credentials(refusal.message.into())
            }
            Some(refusal) => Self::Unfit(refusal),
            None => Self::Failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
