//! Commands that are about no limiter: sent, and answered to the process that sent them.

use std::sync::Arc;

use rate_limiter_distributed::Failure;
use rate_limiter_redis::{Command, Value};
use rustler::{Binary, Encoder, Env, Error, NifResult, Term};

use super::find;
use crate::atoms;
use crate::catch_panic::catch_panic;
use crate::decode::List;
use crate::encode::binary;
use crate::reply::ReplyTo;

/// Sends a command to the server of its key: `{:sent, wait_ms}`, or at once why not, `:away` or `:full`. Once sent,
/// `{reference, {:ok, reply} | {:error, reason}}` comes within about that time.
#[rustler::nif]
fn redis_command<'a>(
    env: Env<'a>,
    store: u64,
    reference: Term<'a>,
    key: Binary<'a>,
    List(words): List<Binary<'a>>,
) -> NifResult<Term<'a>> {
    catch_panic(|| {
        if words.is_empty() {
            return Err(Error::BadArg);
        }
        let Some(link) = find(store) else {
            return Ok(atoms::unknown_store().to_term(env));
        };
        let command = Command {
            key: Arc::from(key.as_slice()),
            words: words.iter().map(|word| word.to_vec()).collect(),
        };
        let reply_to = ReplyTo::new(env, reference);
        let done = move |reply| reply_to.send(|env| self::reply(env, &reply));
        Ok(match link.client.command(command, Box::new(done)) {
            Ok(()) => (atoms::sent(), link.wait_ms()).encode(env),
            Err(failure) => self::failure(env, &failure),
        })
    })
}

fn reply<'a>(env: Env<'a>, reply: &Result<Value, Failure>) -> Term<'a> {
    match reply {
        Ok(value) => (atoms::ok(), self::value(env, value)).encode(env),
        Err(failure) => (atoms::error(), self::failure(env, failure)).encode(env),
    }
}

/// Why there is no reply: an atom, or what the server said.
fn failure<'a>(env: Env<'a>, failure: &Failure) -> Term<'a> {
    match failure {
        Failure::Full => atoms::full().to_term(env),
        Failure::Lost => atoms::lost().to_term(env),
        Failure::Refused { message, .. } => message.encode(env),
        _ => atoms::away().to_term(env),
    }
}

/// What scripts reply: integers, strings as binaries, and lists of these; `nil` for all else.
fn value<'a>(env: Env<'a>, value: &Value) -> Term<'a> {
    match value {
        Value::Int(number) => number.encode(env),
        Value::BulkString(bytes) => binary(env, bytes),
        Value::SimpleString(text) => binary(env, text.as_bytes()),
        Value::Okay => binary(env, b"OK"),
        Value::Array(items) => {
            let items: Vec<Term> = items.iter().map(|item| self::value(env, item)).collect();
            items.encode(env)
        }
        _ => atoms::nil().to_term(env),
    }
}
