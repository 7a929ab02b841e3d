//! Commands that belong to no limiter: each is sent, and its reply goes to the calling process.

use std::sync::Arc;

use rate_limiter_distributed::Failure;
use rate_limiter_redis::{Command, Value};
use rustler::{Binary, Encoder, Env, NifResult, Term};

use super::find;
use crate::atoms;
use crate::binary::binary;
use crate::decode::List;
use crate::refusal::{answer, Refusal};
use crate::reply::ReplyTo;

/// Sends a command to the server of its key. Returns `{:sent, wait_ms}`, or `:away` or `:full` if it was not sent. The
/// process receives `{reference, {:ok, reply} | {:error, failure}}` within about that time.
#[rustler::nif]
fn redis_command<'a>(
    env: Env<'a>,
    store: u64,
    reference: Term<'a>,
    key: Binary<'a>,
    words: List<Binary<'a>>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        if words.0.is_empty() {
            return Err(Refusal::Misuse);
        }
        let store = find(store)?;
        let command = Command {
            key: Arc::from(key.as_slice()),
            words: words.0.iter().map(|word| word.to_vec()).collect(),
        };
        let reply_to = ReplyTo::new(env, reference);
        let done = move |reply| reply_to.send(|env| self::reply(env, &reply));
        Ok(match store.client.command(command, Box::new(done)) {
            Ok(()) => (atoms::sent(), store.store.wait_ms()).encode(env),
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

/// Why there is no reply: an atom, or the server's error.
fn failure<'a>(env: Env<'a>, failure: &Failure) -> Term<'a> {
    match failure {
        Failure::Full => atoms::full().to_term(env),
        Failure::Lost => atoms::lost().to_term(env),
        Failure::Refused { message, .. } => message.encode(env),
        _ => atoms::away().to_term(env),
    }
}

/// The replies of scripts: integers, strings as binaries, and lists of these. All others become `nil`.
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
