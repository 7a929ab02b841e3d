//! The schema of a replay's logs, from terms.

use rate_limiter_replay::{ClfField, Format, Part, Schema, TimeUnit};
use rustler::NifTuple;

#[derive(NifTuple)]
#[rustler(decode)]
pub(super) struct SchemaTerm {
    format: FormatTerm,
    time_names: Vec<String>,
    time_unit: Option<UnitTerm>,
    key: Vec<PartTerm>,
    cost: Option<PartTerm>,
    about: Vec<PartTerm>,
}

#[derive(NifTuple)]
#[rustler(decode)]
struct PartTerm {
    clf: Option<FieldTerm>,
    json_names: Vec<String>,
}

atom_enum!(FormatTerm => Format { Auto = Auto, Clf = Clf, Json = Json });

atom_enum!(UnitTerm => TimeUnit {
    Second = Second,
    Millisecond = Millisecond,
    Microsecond = Microsecond,
    Nanosecond = Nanosecond,
});

atom_enum!(FieldTerm => ClfField {
    Ip = Ip,
    User = User,
    Method = Method,
    Path = Path,
    Status = Status,
    Bytes = Bytes,
    Referer = Referer,
    Agent = Agent,
});

impl From<SchemaTerm> for Schema {
    fn from(schema: SchemaTerm) -> Self {
        Self {
            format: schema.format.into(),
            time: schema.time_names,
            time_unit: schema.time_unit.map(TimeUnit::from),
            key: schema.key.into_iter().map(Part::from).collect(),
            cost: schema.cost.map(Part::from),
            about: schema.about.into_iter().map(Part::from).collect(),
        }
    }
}

impl From<PartTerm> for Part {
    fn from(part: PartTerm) -> Self {
        let clf = part.clf.map(ClfField::from);
        let json = part.json_names;
        Self { clf, json }
    }
}
