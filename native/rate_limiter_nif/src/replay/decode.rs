//! The schema of a replay's logs, from terms.

use rate_limiter_replay::{ClfField, Format, Part, Schema, TimeUnit};
use rustler::{NifTuple, NifUnitEnum};

#[derive(NifTuple)]
#[rustler(decode)]
pub(super) struct SchemaTerm {
    format: FormatTerm,
    time_names: Vec<String>,
    time_unit: Option<UnitTerm>,
    key: Vec<PartTerm>,
    cost: Option<PartTerm>,
}

#[derive(NifTuple)]
#[rustler(decode)]
struct PartTerm {
    clf: Option<FieldTerm>,
    json_names: Vec<String>,
}

#[derive(Clone, Copy, NifUnitEnum)]
enum FormatTerm {
    Auto,
    Clf,
    Json,
}

#[derive(Clone, Copy, NifUnitEnum)]
enum UnitTerm {
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

#[derive(Clone, Copy, NifUnitEnum)]
enum FieldTerm {
    Ip,
    User,
    Method,
    Path,
    Status,
    Bytes,
    Referer,
    Agent,
}

impl From<SchemaTerm> for Schema {
    fn from(schema: SchemaTerm) -> Self {
        Self {
            format: match schema.format {
                FormatTerm::Auto => Format::Auto,
                FormatTerm::Clf => Format::Clf,
                FormatTerm::Json => Format::Json,
            },
            time: schema.time_names,
            time_unit: schema.time_unit.map(|unit| match unit {
                UnitTerm::Second => TimeUnit::Second,
                UnitTerm::Millisecond => TimeUnit::Millisecond,
                UnitTerm::Microsecond => TimeUnit::Microsecond,
                UnitTerm::Nanosecond => TimeUnit::Nanosecond,
            }),
            key: schema.key.into_iter().map(Part::from).collect(),
            cost: schema.cost.map(Part::from),
        }
    }
}

impl From<PartTerm> for Part {
    fn from(part: PartTerm) -> Self {
        let clf = part.clf.map(|field| match field {
            FieldTerm::Ip => ClfField::Ip,
            FieldTerm::User => ClfField::User,
            FieldTerm::Method => ClfField::Method,
            FieldTerm::Path => ClfField::Path,
            FieldTerm::Status => ClfField::Status,
            FieldTerm::Bytes => ClfField::Bytes,
            FieldTerm::Referer => ClfField::Referer,
            FieldTerm::Agent => ClfField::Agent,
        });
        let json = part.json_names;
        Self { clf, json }
    }
}
