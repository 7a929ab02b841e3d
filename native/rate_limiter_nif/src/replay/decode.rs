//! What a replay is made from, out of terms.

use rate_limiter_replay::{ClfField, Format, Part, Schema, TimeUnit};
use rustler::{Atom, Error, NifResult};

use crate::atoms;

mod names {
    rustler::atoms! {
        auto, clf, json,
        second, millisecond, microsecond, nanosecond,
        ip, user, method, path, status, bytes, referer, agent,
    }
}

/// `{clf_field | nil, [json_name]}`. `nil` is an atom too, so these are not options.
type PartTerm = (Atom, Vec<String>);

/// `{format, [time_name], time_unit | nil, [part], cost_part | nil}`
pub(super) type SchemaTerm<'a> = (Atom, Vec<String>, Atom, Vec<PartTerm>, Option<PartTerm>);

pub(super) fn schema(schema: SchemaTerm) -> NifResult<Schema> {
    let (format, time, time_unit, key, cost) = schema;
    Ok(Schema {
        format: one_of(
            format,
            &[
                (names::auto(), Format::Auto),
                (names::clf(), Format::Clf),
                (names::json(), Format::Json),
            ],
        )?,
        time,
        time_unit: or_nil(time_unit, unit)?,
        key: key.into_iter().map(part).collect::<NifResult<_>>()?,
        cost: cost.map(part).transpose()?,
    })
}

fn part((field, json): PartTerm) -> NifResult<Part> {
    Ok(Part {
        clf: or_nil(field, clf_field)?,
        json,
    })
}

fn clf_field(field: Atom) -> NifResult<ClfField> {
    one_of(
        field,
        &[
            (names::ip(), ClfField::Ip),
            (names::user(), ClfField::User),
            (names::method(), ClfField::Method),
            (names::path(), ClfField::Path),
            (names::status(), ClfField::Status),
            (names::bytes(), ClfField::Bytes),
            (names::referer(), ClfField::Referer),
            (names::agent(), ClfField::Agent),
        ],
    )
}

fn unit(unit: Atom) -> NifResult<TimeUnit> {
    one_of(
        unit,
        &[
            (names::second(), TimeUnit::Second),
            (names::millisecond(), TimeUnit::Millisecond),
            (names::microsecond(), TimeUnit::Microsecond),
            (names::nanosecond(), TimeUnit::Nanosecond),
        ],
    )
}

fn or_nil<T>(atom: Atom, decode: impl FnOnce(Atom) -> NifResult<T>) -> NifResult<Option<T>> {
    if atom == atoms::nil() {
        return Ok(None);
    }
    decode(atom).map(Some)
}

fn one_of<T: Copy>(atom: Atom, known: &[(Atom, T)]) -> NifResult<T> {
    let found = known.iter().find(|(name, _)| *name == atom);
    found.map(|(_, value)| *value).ok_or(Error::BadArg)
}
