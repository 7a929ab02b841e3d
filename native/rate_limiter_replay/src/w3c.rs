//! Lines of the W3C Extended Log File Format, as IIS and `CloudFront` write them: a header names the columns.

use crate::error::LineError;
use crate::moment::Moment;

/// The columns that the last `#Fields:` line of a log named.
#[derive(Debug)]
pub(crate) struct Columns(Vec<Vec<u8>>);

/// One line under its columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    columns: &'a Columns,
    line: &'a [u8],
}

impl Columns {
    /// The columns that a header line names, if it is one that does.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let names = line.strip_prefix(b"#Fields:")?;
        Some(Self(values(names).map(<[u8]>::to_vec).collect()))
    }
}

impl<'a> Row<'a> {
    pub(crate) fn new(columns: &'a Columns, line: &'a [u8]) -> Self {
        Self { columns, line }
    }

    /// The value of the first of these columns that the log has; `None` where it is a dash.
    pub(crate) fn field(&self, names: &[String]) -> Result<Option<&'a [u8]>, LineError> {
        let value = names.iter().find_map(|name| self.column(name.as_bytes()));
        let value = value.ok_or(LineError::NoField)?;
        Ok((!value.is_empty() && value != b"-").then_some(value))
    }

    /// The time, which these logs write in UTC: `date` and `time`, or the one of `names` that holds both.
    pub(crate) fn moment(&self, names: &[String]) -> Result<Moment, LineError> {
        let moment = if let (Some(date), Some(time)) = (self.column(b"date"), self.column(b"time"))
        {
            Moment::iso(&[date, b"T", time].concat())
        } else {
            let mut times = names.iter().filter_map(|name| self.column(name.as_bytes()));
            times.find_map(|time| Moment::parse(time, None))
        };
        moment.ok_or(LineError::Time)
    }

    fn column(&self, name: &[u8]) -> Option<&'a [u8]> {
        let at = self.columns.0.iter().position(|column| column == name)?;
        values(self.line).nth(at)
    }
}

fn values(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_columns() {
        let columns = Columns::parse(b"#Fields: date time c-ip cs-username").expect("columns");
        let row = Row::new(&columns, b"2026-11-29 23:00:33 10.0.0.1 -");
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            row.field(&names(&["ip", "c-ip"])),
            Ok(Some(b"10.0.0.1".as_slice()))
        );
        assert_eq!(row.field(&names(&["cs-username"])), Ok(None));
        assert_eq!(row.field(&names(&["ip"])), Err(LineError::NoField));
        let moment = row.moment(&[]).expect("a time");
        assert_eq!(Some(moment), Moment::iso(b"2026-11-29T23:00:33Z"), "in UTC");
        assert!(Columns::parse(b"#Software: IIS").is_none());
    }
}
