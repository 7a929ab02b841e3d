//! Documents in JSON or TOML, as terms. An object is a list of pairs in its order, so that a name that is given twice can be
//! seen.

use std::fmt;

use rustler::{Binary, Encoder, Env, NifResult, NifUnitEnum, Term};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::atoms;
use crate::decode::Arg;
use crate::refusal::answer;

#[derive(Clone, Copy, NifUnitEnum)]
enum FormatTerm {
    Json,
    Toml,
}

enum Document {
    Null,
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Document>),
    Object(Vec<(String, Document)>),
}

/// `{:ok, document}` or `{:error, reason}`, with the line.
#[rustler::nif(schedule = "DirtyCpu")]
fn document<'a>(
    env: Env<'a>,
    text: Binary<'a>,
    Arg(format): Arg<FormatTerm>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let document = match format {
            FormatTerm::Json => serde_json::from_slice(&text).map_err(|error| error.to_string()),
            FormatTerm::Toml => toml(&text),
        };
        Ok(match document {
            Ok(document) => (atoms::ok(), document).encode(env),
            Err(reason) => (atoms::error(), reason).encode(env),
        })
    })
}

/// In the form of the errors of `serde_json`.
fn toml(text: &[u8]) -> Result<Document, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line = before.split('\n').count();
        let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
        format!("{} at line {line} column {column}", error.message())
    })
}

impl Encoder for Document {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Null => atoms::nil().encode(env),
            Self::Boolean(value) => value.encode(env),
            Self::Integer(value) => value.encode(env),
            Self::Unsigned(value) => value.encode(env),
            // Erlang has no term for the others.
            Self::Float(value) if value.is_finite() => value.encode(env),
            Self::Float(value) => value.to_string().encode(env),
            Self::Text(value) => value.encode(env),
            Self::List(values) => values.encode(env),
            Self::Object(members) => members.encode(env),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Document;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Document::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(Document::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Document, E> {
        Ok(Document::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Document, E> {
        Ok(Document::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Document, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Document::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Document, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Document::Object(object))
    }
}
