//! The fields to read of each line of a log.

use crate::address;
use crate::clf::{self, ClfField};
use crate::layouts::Layouts;
use crate::moment::TimeUnit;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line that begins with a brace is a JSON object, any other Common Log Format.
    Auto,
    /// Common or Combined Log Format.
    Clf,
    /// One JSON object a line.
    Json,
}

/// A part of a line: its field in Common Log Format, and its names in JSON, of which the first present one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `None` if Common Log Format has no such field.
    pub clf: Option<ClfField>,
    /// Names in JSON, with dots into nested objects.
    pub json: Vec<String>,
}

/// The fields to read of each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// How lines are written.
    pub format: Format,
    /// The names of the time in JSON.
    pub time: Vec<String>,
    /// The unit of a number; `None`: its magnitude decides.
    pub time_unit: Option<TimeUnit>,
    /// The id: one part, or several together.
    pub key: Vec<Part>,
    /// The cost of a request; `None`: 1.
    pub cost: Option<Part>,
    /// What else is reported of denied requests, such as their path and status. Lines may lack it.
    pub about: Vec<Part>,
}

impl Part {
    /// The text of the field that stands for a client: an address alone, and a path without its query.
    pub(crate) fn text<'a>(&self, text: &'a [u8], layouts: &mut Layouts) -> &'a [u8] {
        match self.clf {
            Some(ClfField::Ip) => {
                let (client, found) = address::client(text);
                layouts.add(found);
                client
            }
            Some(ClfField::Path) => clf::path(text),
            _ => text,
        }
    }
}
