//! The type of a CSV column, found from its values.
//!
//! A type is chosen only if every value that was seen can be read as it and written again as the
//! same value. Everything else stays text. What "the same value" means:
//!
//! - Whole numbers are `int64` if each of them fits. `007` and larger numbers stay text.
//! - Numbers with a fraction or an exponent are `float64` if the float nearest to each, rounded to
//!   as many digits as its text has, is that text again. So `0.1`, `1.10`, `1e-7`,
//!   `0.30000000000000004` and what `printf("%.17g")` writes are floats, because the text says
//!   which float is meant. `9007199254740993.5` and fractions of 20 arbitrary digits are not:
//!   their text says more than a float keeps. Whole numbers beside fractions or `NaN` become
//!   floats up to 2^53; beyond it the column is text.
//! - Dates and times must exist. The unit of a timestamp is the finest fraction that is written.
//!   If the range of nanoseconds (1677 to 2262) does not hold a value, the column is in
//!   microseconds when the digits behind them are zeros, and text otherwise. Leap seconds
//!   (`23:59:60`), zones and fractions of more than nine digits stay text.
//! - `true` and `false`, in any case, are booleans. Empty fields are null in each type.

use std::io::Write;

use arrow_schema::{DataType, TimeUnit};

use super::types;

/// What the values of one column have been so far, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u16);

const BOOLEAN: u16 = 1;
const INTEGER: u16 = 1 << 1;
/// A whole number that a float does not hold.
const LARGE: u16 = 1 << 2;
const FLOAT: u16 = 1 << 3;
const DATE: u16 = 1 << 4;
const SECONDS: u16 = 1 << 5;
const MILLIS: u16 = 1 << 6;
const MICROS: u16 = 1 << 7;
const NANOS: u16 = 1 << 8;
/// A time with parts of a microsecond that are not zero.
const FINE: u16 = 1 << 9;
/// A date or time that nanoseconds since 1970 do not reach.
const FAR: u16 = 1 << 10;
const TEXT: u16 = 1 << 11;

/// Floats hold all whole numbers up to this one.
const EXACT: u64 = 1 << 53;

/// More digits than the exact value of any float has.
const DIGITS: usize = 768;

impl Seen {
    /// One more value, which is not null.
    pub fn add(&mut self, value: &str) {
        // Text stays text: no need to look closer.
        if self.0 & TEXT == 0 {
            self.0 |= class(value);
        }
    }

    /// What was seen in either.
    pub fn and(self, other: Seen) -> Seen {
        Seen(self.0 | other.0)
    }

    /// The type that holds all values.
    pub fn data_type(self) -> DataType {
        match self.0 {
            0 => DataType::Null,
            BOOLEAN => DataType::Boolean,
            set if set & !(INTEGER | LARGE) == 0 => DataType::Int64,
            set if set & !(INTEGER | FLOAT) == 0 => DataType::Float64,
            set if set & !(DATE | FAR) == 0 => DataType::Date32,
            set if set & !(DATE | SECONDS | MILLIS | MICROS | NANOS | FINE | FAR) == 0 => {
                let unit = if set & NANOS != 0 {
                    match set & FAR != 0 {
                        false => TimeUnit::Nanosecond,
                        true if set & FINE == 0 => TimeUnit::Microsecond,
                        true => return DataType::Utf8,
                    }
                } else if set & MICROS != 0 {
                    TimeUnit::Microsecond
                } else if set & MILLIS != 0 {
                    TimeUnit::Millisecond
                } else {
                    TimeUnit::Second
                };
                DataType::Timestamp(unit, None)
            }
            _ => DataType::Utf8,
        }
    }
}

fn class(value: &str) -> u16 {
    let bytes = value.as_bytes();
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match unsigned.first() {
        Some(b'0'..=b'9' | b'.') => match number(value, unsigned) {
            TEXT if unsigned.len() == bytes.len() => time(value),
            class => class,
        },
        _ if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => BOOLEAN,
        _ if matches!(value, "NaN" | "nan" | "inf" | "-inf") => FLOAT,
        _ => TEXT,
    }
}

fn number(value: &str, unsigned: &[u8]) -> u16 {
    let digits = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 1 && unsigned[0] == b'0' {
        return TEXT;
    }
    if digits == unsigned.len() {
        return match digits {
            // Minus nothing is a float's.
            1 if value == "-0" => FLOAT,
            ..=15 => INTEGER,
            _ => match value.parse::<i64>() {
                Ok(number) if number.unsigned_abs() <= EXACT => INTEGER,
                Ok(_) => LARGE,
                Err(_) => TEXT,
            },
        };
    }
    let rest = &unsigned[digits..];
    // As dates go on.
    if !matches!(rest[0], b'.' | b'e' | b'E') {
        return TEXT;
    }
    let fraction = rest[0] == b'.' && rest[1..].iter().all(u8::is_ascii_digit);
    if fraction && (2..=16).contains(&unsigned.len()) {
        return FLOAT;
    }
    let plain = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    match rest.iter().all(plain).then(|| value.parse::<f64>()) {
        Some(Ok(number)) if number.is_finite() && is_named_by(number, unsigned) => FLOAT,
        _ => TEXT,
    }
}

/// Whether a decimal number without sign says which float it is: the float, rounded to as many
/// digits as are written, is the number. Always so with at most 15 digits, for normal floats.
fn is_named_by(number: f64, written: &[u8]) -> bool {
    let end = written.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(written.len());
    let (mantissa, exponent) = written.split_at(end);
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let mut digits = [0; DIGITS];
    let mut count = 0;
    // The power of ten of the first digit that is not zero.
    let mut power = point as i64 - 1;
    for byte in mantissa.iter().filter(|byte| **byte != b'.') {
        match (count, byte) {
            (0, b'0') => power -= 1,
            (DIGITS, _) => return false,
            _ => {
                digits[count] = *byte;
                count += 1;
            }
        }
    }
    if count == 0 || number == 0.0 {
        return count == 0 && number == 0.0;
    }
    if count <= 15 && number.abs() >= f64::MIN_POSITIVE {
        return true;
    }
    let exponent = std::str::from_utf8(exponent).unwrap_or("").trim_start_matches(['e', 'E']);
    let Ok(exponent) = (if exponent.is_empty() { Ok(0) } else { exponent.parse::<i32>() }) else {
        return false;
    };
    // One digit, a point, the others, `e` and the exponent.
    let mut again = [0; DIGITS + 16];
    let mut left = &mut again[..];
    if write!(left, "{:.*e}", count - 1, number.abs()).is_err() {
        return false;
    }
    let left = left.len();
    let again = &again[..DIGITS + 16 - left];
    let Some(e) = again.iter().rposition(|byte| *byte == b'e') else {
        return false;
    };
    let same = again[..e].iter().filter(|byte| **byte != b'.').eq(&digits[..count]);
    same && std::str::from_utf8(&again[e + 1..]).ok().and_then(|text| text.parse().ok())
        == Some(power + i64::from(exponent))
}

fn time(value: &str) -> u16 {
    if value.len() == 10 {
        return match types::date(value) {
            Some(days) if NANOSECONDS.contains(&(i64::from(days) * 86_400)) => DATE,
            Some(_) => DATE | FAR,
            None => TEXT,
        };
    }
    let Some((seconds, nanos)) = types::instant(value) else {
        return TEXT;
    };
    let unit = match value.len() {
        19 => SECONDS,
        21..=23 => MILLIS,
        24..=26 => MICROS,
        27..=29 => NANOS,
        _ => return TEXT,
    };
    let far = if NANOSECONDS.contains(&seconds) { 0 } else { FAR };
    unit | far | if nanos % 1000 == 0 { 0 } else { FINE }
}

/// The seconds since 1970 of which each nanosecond fits an i64.
const NANOSECONDS: std::ops::Range<i64> = i64::MIN / 1_000_000_000..i64::MAX / 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::Seen;
    use arrow_schema::{DataType, TimeUnit};

    fn column(values: &[&str]) -> DataType {
        let mut seen = Seen::default();
        values.iter().for_each(|value| seen.add(value));
        seen.data_type()
    }

    #[test]
    fn types_hold_every_value_as_it_is() {
        assert_eq!(column(&[]), DataType::Null);
        assert_eq!(column(&["1", "-20", "9223372036854775807", "-9223372036854775808"]), DataType::Int64);
        assert_eq!(column(&["9223372036854775808"]), DataType::Utf8);
        assert_eq!(column(&["02134"]), DataType::Utf8);
        assert_eq!(column(&["02134.5"]), DataType::Utf8);
        assert_eq!(column(&["-02134"]), DataType::Utf8);
        assert_eq!(column(&["0", "-1"]), DataType::Int64);
        assert_eq!(column(&["0", "-0"]), DataType::Float64);
        assert_eq!(column(&["0.5", "1", "-1e10", "NaN", ".5", "-.5", "1."]), DataType::Float64);
        for text in ["1e999", "1.2.3", "-", ".", "-.", "1e", "+1", "0x10", "1_000", "1e5e5", "١", "e5", "1 "] {
            assert_eq!(column(&[text]), DataType::Utf8, "{text}");
        }
        assert_eq!(column(&["True", "false"]), DataType::Boolean);
        assert_eq!(column(&["true", "1"]), DataType::Utf8);
    }

    #[test]
    fn floats_are_what_their_text_says() {
        // Written by printf("%.17g"), by numpy.savetxt, and in full.
        for text in [
            "0.1",
            "1.10",
            "0.30000000000000004",
            "0.10000000000000001",
            "1.000000000000000056e-01",
            "0.1000000000000000055511151231257827021181583404541015625",
            "123456789012345680.0",
            "9007199254740992.0",
            "9007199254740992e0000000000000000000001",
            "1e23",
            "5e-324",
            "2.2250738585072014E-308",
            "1.7976931348623157e+308",
            "0.00000000000000000000000000000000000000001",
            "0e-999",
            "0.000",
        ] {
            assert_eq!(column(&[text]), DataType::Float64, "{text}");
            assert_eq!(column(&[&format!("-{text}")]), DataType::Float64, "-{text}");
        }
        for text in [
            "9007199254740993.5",
            "9007199254740993.0",
            "0.12345678901234567890",
            "0.30000000000000001",
            "1e-400",
            "1.2345e-320",
            "3.141592653589793238",
            "1.0000000000000000000000000000000001",
        ] {
            assert_eq!(column(&[text]), DataType::Utf8, "{text}");
            assert_eq!(column(&["0.5", text]), DataType::Utf8, "{text}");
        }
        // Whole numbers beside fractions, at the border and behind it.
        assert_eq!(column(&["9007199254740992", "-9007199254740992", "0.5"]), DataType::Float64);
        for other in ["0.5", "NaN", "inf", "-0"] {
            assert_eq!(column(&["9007199254740993", other]), DataType::Utf8);
            assert_eq!(column(&[other, "-1152921504606846976"]), DataType::Utf8);
        }
    }

    #[test]
    fn dates_must_exist_and_a_unit_holds_all_times() {
        let timestamp = |unit| DataType::Timestamp(unit, None);
        assert_eq!(column(&["2024-02-29", "0000-01-01", "9999-12-31"]), DataType::Date32);
        assert_eq!(column(&["2023-02-29"]), DataType::Utf8);
        assert_eq!(column(&["2024-02-29 10:20:30"]), timestamp(TimeUnit::Second));
        assert_eq!(column(&["2024-02-29", "2024-02-29T10:20:30"]), timestamp(TimeUnit::Second));
        assert_eq!(column(&["2024-02-29T10:20:30.25"]), timestamp(TimeUnit::Millisecond));
        assert_eq!(column(&["2024-02-29T10:20:30.123456"]), timestamp(TimeUnit::Microsecond));
        assert_eq!(column(&["2024-02-29T10:20:30.1234567"]), timestamp(TimeUnit::Nanosecond));
        assert_eq!(column(&["2024-02-29T10:20:30.123456789"]), timestamp(TimeUnit::Nanosecond));
        assert_eq!(column(&["1677-09-21T00:12:44.000000000"]), timestamp(TimeUnit::Nanosecond));
        assert_eq!(column(&["2262-04-11T23:47:15.999999999"]), timestamp(TimeUnit::Nanosecond));
        // Seconds of which nanoseconds hold only a part are left out as a whole.
        assert_eq!(column(&["1677-09-21T00:12:43.500000001"]), DataType::Utf8);
        assert_eq!(column(&["2262-04-11T23:47:16.500000001"]), DataType::Utf8);
        // Out of the range of nanoseconds, with and without parts of a microsecond.
        let zeros = "2024-01-01 00:00:00.0000000";
        assert_eq!(column(&[zeros, "9999-12-31 23:59:59.9999999"]), DataType::Utf8);
        assert_eq!(column(&[zeros, "9999-12-31 23:59:59.9999990"]), timestamp(TimeUnit::Microsecond));
        assert_eq!(column(&[zeros, "0001-01-01"]), timestamp(TimeUnit::Microsecond));
        assert_eq!(column(&["2024-01-01 00:00:00.0000001", "0001-01-01"]), DataType::Utf8);
        assert_eq!(column(&["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"]), timestamp(TimeUnit::Microsecond));
        for text in [
            "2024-02-29T25:20:30",
            "2024-02-29T24:00:00",
            "2024-02-29T10:60:30",
            "2016-12-31 23:59:60",
            "2016-12-31T23:59:60.5",
            "2024-02-29T10:20:30+02:00",
            "2024-02-29T10:20:30Z",
            "2024-02-29T10:20:30.",
            "2024-02-29T10:20:30..5",
            "2024-02-29T10:20:30.1234567890",
            "2024-02-29T10:20",
            "2024-02-29x10:20:30",
            "2024-02-29t10:20:30",
            "2024-2-29",
            "20240-02-29",
            "-2024-02-29",
            "-024-02-29",
            "2024-02-29 ",
            "2024-02-29T10:20:3é",
            "10:20:30",
        ] {
            assert_eq!(column(&[text]), DataType::Utf8, "{text}");
        }
    }
}
