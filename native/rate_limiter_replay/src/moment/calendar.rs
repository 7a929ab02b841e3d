//! Dates to days.

/// The number of a month by its English abbreviation.
pub(super) fn month(name: &[u8]) -> Option<i64> {
    const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    NAMES
        .chunks(3)
        .position(|known| known.eq_ignore_ascii_case(name))
        .and_then(|at| i64::try_from(at + 1).ok())
}

/// Days since 1970 of a date that the calendar has.
pub(super) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Count years from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(year * 365 + leap_days + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn days_count_on(day in 0i64..200_000) {
            // Walk the calendar by asking which date follows: each known date is one day after the last.
            let (mut year, mut left) = (1970, day);
            let length = |year| if days(year, 2, 29).is_some() { 366 } else { 365 };
            while left >= length(year) {
                left -= length(year);
                year += 1;
            }
            let first = days(year, 1, 1).expect("new year");
            prop_assert_eq!(first + left, day);
        }
    }
}
