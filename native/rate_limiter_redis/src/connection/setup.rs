//! What a new connection sends first: credentials, the database, and the health check, in as few round trips as possible.

use rate_limiter_distributed::Call;
use redis::{Cmd, RedisError, Value};

use super::{ConnectError, ConnectOptions, Connection};
use crate::credentials::Credentials;
use crate::error::{auth_error, server_error};
use crate::server_kind::ServerKind;
use crate::{script, wire};

type Reply = Result<Value, RedisError>;

/// Returns the command that runs the script for a health check.
pub(super) fn script(health_check: &Call) -> Cmd {
    wire::encode(std::iter::once(health_check), None)
}

/// Checks the reply to `ROLE` for a primary, before anything is written: a replica may accept writes, too.
pub(super) fn check_role(reply: Reply) -> Result<(), ConnectError> {
    match reply {
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

impl Connection {
    /// Sends the credentials, the number of the database and a command together. Returns the reply to the command.
    pub(super) async fn sign_in(
        &self,
        options: &ConnectOptions,
        credentials: &Credentials,
        command: Cmd,
    ) -> Result<Reply, ConnectError> {
        let auth = auth(credentials);
        let select = (options.database != 0).then(|| {
            let mut select = redis::cmd("SELECT");
            select.arg(options.database);
            select
        });
        // Each waits for its own reply: a server that refuses one may close the connection, and answer no other.
        let (auth, select, reply) = tokio::join!(
            self.query_some(auth.as_ref()),
            self.query_some(select.as_ref()),
            self.query(&command),
        );
        auth.map_err(refused_credentials)?;
        select?;
        Ok(reply)
    }

    async fn query_some(&self, command: Option<&Cmd>) -> Result<(), RedisError> {
        match command {
            Some(command) => self.query(command).await.map(drop),
            None => Ok(()),
        }
    }

    /// Runs the real script, and loads it if the server does not have it.
    pub(crate) async fn check_health(
        &self,
        health_check: &Call,
        kind: &ServerKind,
    ) -> Result<(), ConnectError> {
        let reply = self.query(&script(health_check)).await;
        self.check_reply(reply, health_check, kind).await
    }

    /// Checks the reply of the script to a health check. Loads the script if the server does not have it.
    pub(crate) async fn check_reply(
        &self,
        mut reply: Reply,
        health_check: &Call,
        kind: &ServerKind,
    ) -> Result<(), ConnectError> {
        if has_code(&reply, &["NOSCRIPT"]) {
            reply = self.load(health_check, false).await;
        }
        if has_code(&reply, &["MOVED", "ASK"]) {
            // The slot of the health check has moved. A cluster's node works, and redirects its calls.
            return match kind {
                ServerKind::Shard { .. } => Ok(()),
                ServerKind::Single | ServerKind::Primary { .. } => Err(ConnectError::cluster()),
            };
        }
        match wire::decode(std::iter::once(health_check), &reply?).pop() {
            Some(Ok(_)) => Ok(()),
            other => Err(ConnectError::Failed(format!(
                "expected an answer of the script, got: {other:?}"
            ))),
        }
    }

    /// Runs the script with its source, so that the server has it from now on. In a slot that is being imported, this
    /// takes an `ASKING`.
    pub(crate) async fn load(&self, health_check: &Call, asking: bool) -> Reply {
        // First, since a proxy may close the connection at a `SCRIPT`. Others refuse `EVAL`.
        let with_source = wire::encode_with_source(std::iter::once(health_check));
        let asking = asking.then(|| redis::cmd("ASKING"));
        let commands = asking.into_iter().chain([with_source]);
        let replies = self.pipeline(commands.collect()).await?;
        let reply = replies.into_iter().next_back().unwrap_or(Value::Nil);
        let reply = reply.extract_error();
        let is_refused = |error: &RedisError| error.code().is_some();
        if !reply.as_ref().is_err_and(is_refused) {
            return reply;
        }
        let mut load = redis::cmd("SCRIPT");
        match self
            .query(load.arg("LOAD").arg(script::GENERAL.source()))
            .await
        {
            Ok(_) => self.query(&script(health_check)).await,
            // A redirection shows that `EVAL` is allowed: it loads the script where the slot is now.
            Err(_) if has_code(&reply, &["MOVED", "ASK"]) => reply,
            Err(error) => Err(error),
        }
    }

    /// Runs the lean script with its source for a health check, so that the server has it from now on. Returns whether it
    /// has run. A server that refuses `EVAL` has no use of it: a proxy may close the connection at a `SCRIPT`.
    pub(crate) async fn load_lean(&self, health_check: &Call) -> bool {
        let command = wire::lean::encode_with_source(std::iter::once(health_check));
        let reply = self.query(&command).await;
        reply.is_ok_and(|reply| wire::lean::left(&reply).count() == 1)
    }
}

/// Returns the command that authenticates, if there is a password.
pub(crate) fn auth(credentials: &Credentials) -> Option<Cmd> {
    let password = credentials.password()?;
    let mut auth = redis::cmd("AUTH");
    if let Some(username) = credentials.username() {
        auth.arg(username);
    }
    auth.arg(password);
    Some(auth)
}

fn refused_credentials(error: RedisError) -> ConnectError {
    match server_error(&error) {
        Some(refused) => ConnectError::Credentials(auth_error(&refused).into()),
        // The words of the parser may repeat the bytes.
        None if !error.is_io_error() => ConnectError::unreadable(),
        None => error.into(),
    }
}

fn has_code(reply: &Reply, codes: &[&str]) -> bool {
    let code = reply.as_ref().err().and_then(RedisError::code);
    code.is_some_and(|code| codes.contains(&code))
}
