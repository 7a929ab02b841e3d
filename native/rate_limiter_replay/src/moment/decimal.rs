//! Decimal numbers in text, without a conversion to floating point.

/// A decimal number, exactly: `mantissa * 10^exponent`.
pub(super) struct Decimal {
    mantissa: u128,
    exponent: i32,
}

impl Decimal {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (number, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = match number.iter().position(|&b| b == b'.') {
            Some(at) => (&number[..at], &number[at + 1..]),
            None => (number, &[][..]),
        };
        // More digits do not change a nanosecond of any year, and would not fit.
        if whole.is_empty() || whole.len() > 20 {
            return None;
        }
        let fraction = &fraction[..fraction.len().min(15)];
        let mut mantissa: u128 = 0;
        for &digit in whole.iter().chain(fraction) {
            if !digit.is_ascii_digit() {
                return None;
            }
            mantissa = mantissa * 10 + u128::from(digit - b'0');
        }
        // At most 15.
        let places = i32::try_from(fraction.len()).ok()?;
        Some(Self {
            mantissa,
            exponent: exponent - places,
        })
    }

    /// Returns its whole part, saturating.
    pub(super) fn whole(&self) -> u128 {
        self.scaled(0).unwrap_or(u128::MAX)
    }

    /// Returns the number times `10^exponent`, cut to a whole number.
    pub(super) fn scaled(&self, exponent: i32) -> Option<u128> {
        let exponent = self.exponent + exponent;
        let power = 10u128.checked_pow(exponent.unsigned_abs());
        if exponent >= 0 {
            self.mantissa.checked_mul(power?)
        } else {
            Some(power.map_or(0, |power| self.mantissa / power))
        }
    }
}

fn exponent(text: &[u8]) -> Option<i32> {
    let exponent: i8 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(exponent.into())
}
