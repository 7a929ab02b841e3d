//! The time of a line, in the notations of logs.

mod decimal;

use decimal::Decimal;
use time::{Date, Month};

/// A moment, and the offset of the clock of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970 in UTC.
    pub unix_ns: u64,
    /// Minutes east of UTC.
    pub offset_minutes: i16,
}

/// The unit of a number since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

const NS_PER_SECOND: i64 = 1_000_000_000;

/// The year 2262: later than any log, and far enough from the end of `u64` for the sums of the algorithms.
const MAX_UNIX_NS: i64 = i64::MAX;

impl TimeUnit {
    /// Returns the unit in which this number since 1970 lies between 1973 and 5138: the ranges do not overlap.
    fn of_magnitude(value: u128) -> Self {
        match value {
            0..100_000_000_000 => Self::Second,
            100_000_000_000..100_000_000_000_000 => Self::Millisecond,
            100_000_000_000_000..100_000_000_000_000_000 => Self::Microsecond,
            _ => Self::Nanosecond,
        }
    }

    /// Returns the power of ten that converts it to nanoseconds.
    fn exponent(self) -> i32 {
        match self {
            Self::Second => 9,
            Self::Millisecond => 6,
            Self::Microsecond => 3,
            Self::Nanosecond => 0,
        }
    }
}

impl Moment {
    /// Returns the hour of the day, 0 to 23, on the clock of the log.
    #[must_use]
    pub fn hour(self) -> u8 {
        let hours = self.local_seconds().rem_euclid(86_400) / 3_600;
        // 0 to 23.
        u8::try_from(hours).unwrap_or(0)
    }

    /// Returns seconds since 1970 on that clock.
    #[must_use]
    pub fn local_seconds(self) -> i64 {
        (self.unix_ns / 1_000_000_000).cast_signed() + i64::from(self.offset_minutes) * 60
    }

    /// Parses any notation below: ISO 8601, Common Log Format, or a number since 1970.
    #[must_use]
    pub fn parse(text: &[u8], unit: Option<TimeUnit>) -> Option<Self> {
        Self::iso(text)
            .or_else(|| Self::common(text))
            .or_else(|| Self::number(text, unit))
    }

    /// Parses `17/May/2015:10:05:03 +0000`, also with a fraction of a second.
    #[must_use]
    pub fn common(text: &[u8]) -> Option<Self> {
        let mut rest = Cursor(text);
        let day = rest.digits(2)?;
        rest.byte(b'/')?;
        let month = month_named(rest.take(3)?)?;
        rest.byte(b'/')?;
        let year = rest.digits(4)?;
        rest.byte(b':')?;
        let second = rest.time_of_day()?;
        let fraction = rest.fraction()?;
        rest.byte(b' ')?;
        let offset = rest.offset()?;
        rest.end()?;
        Self::from_parts(date(year, month, day)?, second, fraction, offset)
    }

    /// Parses `2015-05-17T10:05:03.123+02:00`. A space may replace the `T`, and a comma the dot. The default offset is
    /// UTC.
    #[must_use]
    pub fn iso(text: &[u8]) -> Option<Self> {
        let mut rest = Cursor(text);
        let year = rest.digits(4)?;
        rest.byte(b'-')?;
        let month = Month::try_from(u8::try_from(rest.digits(2)?).ok()?).ok()?;
        rest.byte(b'-')?;
        let day = rest.digits(2)?;
        match rest.next()? {
            b'T' | b't' | b' ' => {}
            _ => return None,
        }
        let second = rest.time_of_day()?;
        let fraction = rest.fraction()?;
        if rest.0.first() == Some(&b' ') {
            rest.next();
        }
        let offset = match rest.0 {
            [] | [b'Z' | b'z'] => 0,
            _ => {
                let offset = rest.offset()?;
                rest.end()?;
                offset
            }
        };
        Self::from_parts(date(year, month, day)?, second, fraction, offset)
    }

    /// Parses a number since 1970, in `unit` or else in the unit of its magnitude. Digits below the nanosecond are cut.
    #[must_use]
    pub fn number(text: &[u8], unit: Option<TimeUnit>) -> Option<Self> {
        let decimal = Decimal::parse(text)?;
        let unit = unit.unwrap_or_else(|| TimeUnit::of_magnitude(decimal.whole()));
        let ns = decimal.scaled(unit.exponent())?;
        Self::checked(i128::try_from(ns).ok()?, 0)
    }

    fn from_parts(date: Date, second: i32, fraction: i32, offset: i16) -> Option<Self> {
        let midnight = date.midnight().assume_utc().unix_timestamp();
        let second = midnight + i64::from(second) - i64::from(offset) * 60;
        Self::checked(
            i128::from(second) * i128::from(NS_PER_SECOND) + i128::from(fraction),
            offset,
        )
    }

    fn checked(unix_ns: i128, offset_minutes: i16) -> Option<Self> {
        let unix_ns = i64::try_from(unix_ns).ok()?;
        (0..=MAX_UNIX_NS).contains(&unix_ns).then_some(Self {
            unix_ns: unix_ns.unsigned_abs(),
            offset_minutes,
        })
    }
}

/// Returns a day, if the calendar has it.
fn date(year: i32, month: Month, day: i32) -> Option<Date> {
    Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()
}

/// Returns a month by its English abbreviation.
pub(crate) fn month_named(name: &[u8]) -> Option<Month> {
    const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let at = NAMES
        .chunks_exact(3)
        .position(|known| known.eq_ignore_ascii_case(name))?;
    Month::try_from(u8::try_from(at + 1).ok()?).ok()
}

/// The text that is left to parse.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn byte(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// Parses a number of exactly `count` digits, at most nine.
    fn digits(&mut self, count: usize) -> Option<i32> {
        let mut value = 0;
        for &digit in self.take(count)? {
            if !digit.is_ascii_digit() {
                return None;
            }
            value = value * 10 + i32::from(digit - b'0');
        }
        Some(value)
    }

    /// Parses `10:05:03` to seconds. A leap second, `:60`, is the first second of the next minute, as in Unix time.
    fn time_of_day(&mut self) -> Option<i32> {
        let hour = self.digits(2)?;
        self.byte(b':')?;
        let minute = self.digits(2)?;
        self.byte(b':')?;
        let second = self.digits(2)?;
        (hour < 24 && minute < 60 && second <= 60).then_some((hour * 60 + minute) * 60 + second)
    }

    /// Parses `.123` to nanoseconds; 0 without a fraction. Digits after the ninth are cut.
    fn fraction(&mut self) -> Option<i32> {
        if !matches!(self.0.first(), Some(b'.' | b',')) {
            return Some(0);
        }
        self.next();
        let length = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let kept = length.min(9);
        let value = Cursor(self.take(length)?).digits(kept)?;
        let missing = u32::try_from(9 - kept).ok()?;
        (length > 0).then_some(value * 10i32.pow(missing))
    }

    /// Parses `+0200`, `+02:00` or `+02` to minutes.
    fn offset(&mut self) -> Option<i16> {
        let sign = match self.next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let hours = self.digits(2)?;
        if self.0.first() == Some(&b':') {
            self.next();
        }
        let minutes = if self.0.is_empty() {
            0
        } else {
            self.digits(2)?
        };
        if hours > 18 || minutes > 59 {
            return None;
        }
        i16::try_from(sign * (hours * 60 + minutes)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(moment: Option<Moment>) -> Option<u64> {
        moment.map(|moment| moment.unix_ns / 1_000_000_000)
    }

    #[test]
    fn the_common_notation_applies_the_offset() {
        let utc = Moment::common(b"17/May/2015:10:05:03 +0000");
        assert_eq!(seconds(utc), Some(1_431_857_103));
        let berlin = Moment::common(b"17/May/2015:12:05:03 +0200").expect("a moment");
        assert_eq!(Some(berlin.unix_ns), utc.map(|utc| utc.unix_ns));
        assert_eq!(berlin.offset_minutes, 120);
        assert_eq!(berlin.hour(), 12);
        let nepal = Moment::common(b"17/May/2015:15:50:03 +0545").expect("a moment");
        assert_eq!(Some(nepal.unix_ns), utc.map(|utc| utc.unix_ns));
        let newfoundland = Moment::common(b"31/Dec/1999:23:59:59 -0330").expect("a moment");
        assert_eq!(newfoundland.unix_ns, 946_697_399_000_000_000);
        assert_eq!(newfoundland.hour(), 23);
    }

    #[test]
    fn iso_notations_are_parsed() {
        let expected = Some(1_431_857_103);
        for text in [
            "2015-05-17T10:05:03Z",
            "2015-05-17 10:05:03",
            "2015-05-17t10:05:03.999999999z",
            "2015-05-17T10:05:03,5",
            "2015-05-17T12:05:03+02:00",
            "2015-05-17T12:05:03+0200",
            "2015-05-17T12:05:03 +02",
            "2015-05-17T05:05:03.1234567891234-05:00",
        ] {
            assert_eq!(seconds(Moment::iso(text.as_bytes())), expected, "{text}");
        }
        let exact = Moment::iso(b"2015-05-17T10:05:03.000000001Z").expect("a moment");
        assert_eq!(exact.unix_ns, 1_431_857_103_000_000_001);
    }

    #[test]
    fn the_magnitude_of_a_number_decides_its_unit() {
        let unix_ns = 1_431_857_103_123_456_789;
        for (text, cut) in [
            ("1431857103.123456789", 1),
            ("1431857103123456789", 1),
            ("1431857103123456", 1_000),
            ("1431857103123.456", 1_000),
            ("1431857103123", 1_000_000),
            ("1431857103", 1_000_000_000),
            ("1.431857103e9", 1_000_000_000),
            ("1431857103123e-3", 1_000_000),
        ] {
            let moment = Moment::number(text.as_bytes(), None).expect(text);
            assert_eq!(moment.unix_ns, unix_ns / cut * cut, "{text}");
        }
        let early = Moment::number(b"5000", Some(TimeUnit::Millisecond)).expect("a moment");
        assert_eq!(early.unix_ns, 5_000_000_000);
    }

    #[test]
    fn an_invalid_time_is_rejected() {
        for text in [
            "",
            "-",
            "17/May/2015:24:05:03 +0000",
            "17/Mai/2015:10:05:03 +0000",
            "31/Apr/2015:10:05:03 +0000",
            "29/Feb/2015:10:05:03 +0000",
            "29/Feb/1900:10:05:03 +0000",
            "17/May/2015:10:05:03 +1900",
            "17/May/2015:10:05:03",
            "2015-05-17",
            "2015-13-17T10:05:03Z",
            "2015-05-17T10:05:03.Z",
            "2015-05-17T10:05:03Zulu",
            "1969-12-31T23:59:59Z",
            "2263-01-01T00:00:00Z",
            "-5",
            "1e99",
            "12e",
            ".5",
            "99999999999999999999999",
        ] {
            assert_eq!(Moment::parse(text.as_bytes(), None), None, "{text}");
        }
        assert!(Moment::parse(b"29/Feb/2016:10:05:03 +0000", None).is_some());
        assert!(Moment::parse(b"29/Feb/2000:10:05:60 +0000", None).is_some());
    }

    proptest! {
        #[test]
        fn no_text_panics(text: Vec<u8>) {
            let _ = Moment::parse(&text, None);
        }

        #[test]
        fn no_number_panics(text in "[0-9]{0,25}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{0,3})?") {
            let _ = Moment::parse(text.as_bytes(), Some(TimeUnit::Nanosecond));
        }
    }
}
