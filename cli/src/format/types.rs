//! The types that a CSV column can have: their names on the command line, and how text becomes
//! values of them. What cannot be said in a type is refused, never rounded: but for floats, of
//! which the nearest is taken when somebody asks for floats.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, NullBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};
use chrono::NaiveDate;

/// The type that people call by this name.
pub fn named(name: &str) -> Result<DataType, String> {
    let plain = name.trim().to_ascii_lowercase();
    if let Some(found) = simple(&plain) {
        return Ok(found);
    }
    let wrong = || {
        format!(
            "no type is called `{name}`: give int8, int16, int32, int64 (int, bigint), uint8 to uint64, float32, \
             float64 (float, double), decimal(PRECISION,SCALE), bool, text (string, varchar), date, timestamp, \
             timestamp[s], [ms], [us] or [ns], or timestamptz"
        )
    };
    let decimal = ["decimal", "numeric"].iter().find_map(|name| plain.strip_prefix(name)).ok_or_else(wrong)?;
    let inner = decimal.trim().strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or_else(wrong)?;
    let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
    match (precision.trim().parse::<u8>(), scale.trim().parse::<u8>()) {
        (Ok(precision), Ok(scale))
            if (1..=DECIMAL128_MAX_PRECISION).contains(&precision) && (0..=precision).contains(&scale) =>
        {
            Ok(DataType::Decimal128(precision, scale.cast_signed()))
        }
        _ => Err(format!(
            "`{name}` cannot be: a decimal has 1 to {DECIMAL128_MAX_PRECISION} digits, and of them at most all behind \
             the point, as decimal(12,2)"
        )),
    }
}

fn simple(name: &str) -> Option<DataType> {
    let timestamp = |unit| DataType::Timestamp(unit, None);
    Some(match name {
        "int8" | "i8" | "tinyint" => DataType::Int8,
        "int16" | "i16" | "smallint" | "short" => DataType::Int16,
        "int32" | "i32" => DataType::Int32,
        "int64" | "i64" | "int" | "integer" | "bigint" | "long" => DataType::Int64,
        "uint8" | "u8" | "utinyint" => DataType::UInt8,
        "uint16" | "u16" | "usmallint" => DataType::UInt16,
        "uint32" | "u32" | "uinteger" => DataType::UInt32,
        "uint64" | "u64" | "uint" | "ubigint" => DataType::UInt64,
        "float32" | "f32" | "real" => DataType::Float32,
        "float64" | "f64" | "float" | "double" => DataType::Float64,
        "bool" | "boolean" => DataType::Boolean,
        "text" | "string" | "str" | "varchar" | "utf8" => DataType::Utf8,
        "date" | "date32" => DataType::Date32,
        "timestamp[s]" | "datetime64[s]" | "timestamp_s" => timestamp(TimeUnit::Second),
        "timestamp[ms]" | "datetime64[ms]" | "timestamp_ms" => timestamp(TimeUnit::Millisecond),
        "timestamp" | "datetime" | "timestamp[us]" | "datetime64[us]" | "timestamp_us" => {
            timestamp(TimeUnit::Microsecond)
        }
        "timestamp[ns]" | "datetime64[ns]" | "timestamp_ns" => timestamp(TimeUnit::Nanosecond),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => return None,
    })
}

/// The name of a type of [`named`].
pub fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "bool".to_owned(),
        DataType::Utf8 => "text".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::Timestamp(TimeUnit::Second, None) => "timestamp[s]".to_owned(),
        DataType::Timestamp(TimeUnit::Millisecond, None) => "timestamp[ms]".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp[us]".to_owned(),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "timestamp[ns]".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => other.to_string().to_ascii_lowercase(),
    }
}

/// A column that grows value by value.
pub trait Column: Send {
    /// Appends a value, unless the text is none of this type.
    fn add(&mut self, text: &str) -> bool;
    /// Appends a null.
    fn add_null(&mut self);
    /// The values so far; it is empty then.
    fn finish(&mut self) -> ArrayRef;
}

/// An empty column of a type of [`named`], or of nulls.
pub fn column(data_type: &DataType) -> Box<dyn Column> {
    match data_type {
        DataType::Null => Box::new(NullBuilder::new()),
        DataType::Boolean => Box::new(BooleanBuilder::new()),
        DataType::Int8 => number::<Int8Type>(),
        DataType::Int16 => number::<Int16Type>(),
        DataType::Int32 => number::<Int32Type>(),
        DataType::Int64 => number::<Int64Type>(),
        DataType::UInt8 => number::<UInt8Type>(),
        DataType::UInt16 => number::<UInt16Type>(),
        DataType::UInt32 => number::<UInt32Type>(),
        DataType::UInt64 => number::<UInt64Type>(),
        DataType::Float32 => values::<Float32Type>(data_type, |text| {
            float::<f32>(text).filter(|x| x.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit()))
        }),
        DataType::Float64 => values::<Float64Type>(data_type, |text| {
            float::<f64>(text).filter(|x| x.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit()))
        }),
        DataType::Date32 => values::<Date32Type>(data_type, date),
        DataType::Timestamp(unit, zone) => {
            let read = match zone {
                None => midnight_or_instant,
                Some(_) => zoned,
            };
            match unit {
                TimeUnit::Second => values::<TimestampSecondType>(data_type, move |text| scaled(read(text)?, 1)),
                TimeUnit::Millisecond => {
                    values::<TimestampMillisecondType>(data_type, move |text| scaled(read(text)?, 1000))
                }
                TimeUnit::Microsecond => {
                    values::<TimestampMicrosecondType>(data_type, move |text| scaled(read(text)?, 1_000_000))
                }
                TimeUnit::Nanosecond => {
                    values::<TimestampNanosecondType>(data_type, move |text| scaled(read(text)?, 1_000_000_000))
                }
            }
        }
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (usize::from(*precision), usize::from(scale.unsigned_abs()));
            values::<Decimal128Type>(data_type, move |text| decimal(text, precision, scale))
        }
        _ => Box::new(StringBuilder::new()),
    }
}

struct Values<T: ArrowPrimitiveType, F> {
    builder: PrimitiveBuilder<T>,
    read: F,
}

fn values<T: ArrowPrimitiveType>(
    data_type: &DataType,
    read: impl Fn(&str) -> Option<T::Native> + Send + 'static,
) -> Box<dyn Column> {
    Box::new(Values { builder: PrimitiveBuilder::<T>::new().with_data_type(data_type.clone()), read })
}

fn number<T: ArrowPrimitiveType<Native: FromStr>>() -> Box<dyn Column> {
    values::<T>(&T::DATA_TYPE, |text| text.parse().ok())
}

impl<T: ArrowPrimitiveType, F: Fn(&str) -> Option<T::Native> + Send> Column for Values<T, F> {
    fn add(&mut self, text: &str) -> bool {
        match (self.read)(text) {
            Some(value) => self.builder.append_value(value),
            None => return false,
        }
        true
    }

    fn add_null(&mut self) {
        self.builder.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        let column = self.builder.finish();
        // The next batch is likely as long as this one.
        self.builder = PrimitiveBuilder::with_capacity(column.len()).with_data_type(column.data_type().clone());
        Arc::new(column)
    }
}

impl Column for BooleanBuilder {
    fn add(&mut self, text: &str) -> bool {
        let is = |names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
        if is(&["true", "t", "yes", "y", "1"]) {
            self.append_value(true);
        } else if is(&["false", "f", "no", "n", "0"]) {
            self.append_value(false);
        } else {
            return false;
        }
        true
    }

    fn add_null(&mut self) {
        self.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.finish())
    }
}

impl Column for StringBuilder {
    fn add(&mut self, text: &str) -> bool {
        self.append_value(text);
        true
    }

    fn add_null(&mut self) {
        self.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        let column = self.finish();
        *self = StringBuilder::with_capacity(column.len(), column.value_data().len());
        Arc::new(column)
    }
}

impl Column for NullBuilder {
    fn add(&mut self, _: &str) -> bool {
        false
    }

    fn add_null(&mut self) {
        self.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.finish())
    }
}

fn float<T: FromStr + Display>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// The value of some ASCII digits; `None` if one of them is none.
fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |number: u32, byte| match byte {
        b'0'..=b'9' => Some(number * 10 + u32::from(byte - b'0')),
        _ => None,
    })
}

/// `YYYY-MM-DD`, as days since 1970.
pub fn date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = digits(&bytes[..4])?.cast_signed();
    let date = NaiveDate::from_ymd_opt(year, digits(&bytes[5..7])?, digits(&bytes[8..])?)?;
    Some(date.to_epoch_days())
}

/// `YYYY-MM-DD hh:mm:ss`, or with `T`, with up to nine digits of a fraction: as seconds since 1970
/// and nanoseconds. Minutes have 60 seconds: there is no place for a leap second.
pub fn instant(text: &str) -> Option<(i64, u32)> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || !matches!(bytes[10], b' ' | b'T') || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let days = date(text.get(..10)?)?;
    let (hour, minute, second) = (digits(&bytes[11..13])?, digits(&bytes[14..16])?, digits(&bytes[17..19])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match &bytes[19..] {
        [] => 0,
        [b'.', fraction @ ..] if (1..=9).contains(&fraction.len()) => {
            digits(fraction)? * 10_u32.pow(9 - fraction.len() as u32)
        }
        _ => return None,
    };
    Some((i64::from(days) * 86_400 + i64::from(hour * 3600 + minute * 60 + second), nanos))
}

fn midnight_or_instant(text: &str) -> Option<(i64, u32)> {
    instant(text).or_else(|| Some((i64::from(date(text)?) * 86_400, 0)))
}

/// An instant followed by `Z`, `+hh`, `+hhmm` or `+hh:mm`; without any of them in UTC.
fn zoned(text: &str) -> Option<(i64, u32)> {
    if let Some(utc) = text.strip_suffix(['Z', 'z']) {
        return instant(utc);
    }
    let Some(at) = text.get(19..).and_then(|rest| rest.find(['+', '-'])).map(|at| at + 19) else {
        return midnight_or_instant(text);
    };
    let (seconds, nanos) = instant(&text[..at])?;
    let (hours, minutes) = match &text.as_bytes()[at + 1..] {
        [h, i] => (digits(&[*h, *i])?, 0),
        [h, i, m, n] | [h, i, b':', m, n] => (digits(&[*h, *i])?, digits(&[*m, *n])?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = i64::from(hours * 3600 + minutes * 60);
    Some((if text.as_bytes()[at] == b'+' { seconds - offset } else { seconds + offset }, nanos))
}

/// In units of which there are so many in a second; `None` if that is not exact.
fn scaled((seconds, nanos): (i64, u32), per_second: i64) -> Option<i64> {
    let unit = 1_000_000_000 / per_second;
    let parts = i64::from(nanos);
    match parts % unit {
        0 => i64::try_from(i128::from(seconds) * i128::from(per_second) + i128::from(parts / unit)).ok(),
        _ => None,
    }
}

/// A decimal number as a whole number of its last digit; `None` if it has more digits than that.
fn decimal(text: &str, precision: usize, scale: usize) -> Option<i128> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let fraction = fraction.trim_end_matches('0');
    let all = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !unsigned.bytes().any(|byte| byte.is_ascii_digit()) || !all(whole) || !all(fraction) || fraction.len() > scale {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > precision - scale {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat(b'0'));
    let number = digits.take(whole.len() + scale).fold(0_i128, |number, byte| number * 10 + i128::from(byte - b'0'));
    Some(if text.starts_with('-') { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::{Column, column, decimal, name, named, zoned};
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, TimestampMillisecondType, UInt8Type};
    use arrow_schema::DataType;

    fn with(type_name: &str) -> Box<dyn Column> {
        column(&named(type_name).unwrap())
    }

    #[test]
    fn each_type_has_a_name_that_is_read_again() {
        let names = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 bool text date timestamp[s] \
                     timestamp[ms] timestamp[us] timestamp[ns] timestamptz decimal(12,2)";
        for text in names.split_whitespace() {
            let data_type = named(text).unwrap();
            assert_eq!(name(&data_type), text);
            assert_eq!(column(&data_type).finish().data_type(), &data_type, "{text}");
        }
        assert_eq!(named(" VARCHAR "), Ok(DataType::Utf8));
        assert_eq!(named("numeric(5)"), Ok(DataType::Decimal128(5, 0)));
        for wrong in ["", "number", "decimal", "decimal(39,2)", "decimal(0,0)", "decimal(3,4)", "decimal(a,b)", "int7"]
        {
            assert!(named(wrong).unwrap_err().contains("decimal("), "{wrong}");
        }
    }

    #[test]
    fn what_a_type_does_not_say_is_refused() {
        let mut bytes = with("uint8");
        assert!(bytes.add("255") && bytes.add("007") && !bytes.add("256") && !bytes.add("-1") && !bytes.add("1.0"));
        bytes.add_null();
        let bytes = bytes.finish();
        assert_eq!(bytes.as_primitive::<UInt8Type>().iter().collect::<Vec<_>>(), [Some(255), Some(7), None]);
        let mut millis = with("timestamp[ms]");
        assert!(
            millis.add("2024-01-01T00:00:00.5") && millis.add("2024-01-01") && millis.add("2024-01-01 00:00:00.500000")
        );
        assert!(!millis.add("2024-01-01T00:00:00.0001") && !millis.add("2016-12-31 23:59:60"));
        let millis = millis.finish();
        let start = 1_704_067_200_000;
        assert_eq!(millis.as_primitive::<TimestampMillisecondType>().values(), &[start + 500, start, start + 500]);
        let mut floats = with("double");
        assert!(floats.add("0.12345678901234567890") && floats.add("inf") && floats.add("NaN") && !floats.add("1e999"));
        assert_eq!(floats.finish().as_primitive::<Float64Type>().value(0), 0.123_456_789_012_345_68);
        let mut flags = with("bool");
        assert!(flags.add("Yes") && flags.add("0") && flags.add("FALSE") && !flags.add("2"));
        assert_eq!(flags.finish().as_boolean().true_count(), 1);
        let mut nanos = with("timestamp[ns]");
        assert!(nanos.add("2262-04-11T23:47:16.854775807") && !nanos.add("2262-04-11T23:47:16.854775808"));
        assert!(nanos.add("1677-09-21T00:12:43.145224192") && !nanos.add("1677-09-21T00:12:43.145224191"));
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal("-12.50", 4, 2), Some(-1250));
        assert_eq!(decimal("+0012.5", 4, 2), Some(1250));
        assert_eq!(decimal(".5", 4, 2), Some(50));
        assert_eq!(decimal("5.", 4, 2), Some(500));
        assert_eq!(decimal("99999999999999999999999999999999999999", 38, 0), Some(10_i128.pow(38) - 1));
        for wrong in ["12.345", "123", "", ".", "-", "1e5", "1.2.3", "١"] {
            assert_eq!(decimal(wrong, 4, 2), None, "{wrong}");
        }
    }

    #[test]
    fn zones_are_read_into_utc() {
        let utc = zoned("2024-06-01T10:00:00").unwrap();
        for text in [
            "2024-06-01T10:00:00Z",
            "2024-06-01 12:00:00+02:00",
            "2024-06-01T12:00:00+02",
            "2024-06-01T04:30:00-0530",
            "2024-06-01T10:00:00.000+00:00",
        ] {
            assert_eq!(zoned(text), Some(utc), "{text}");
        }
        for wrong in ["2024-06-01T10:00:00 UTC", "2024-06-01T10:00:00+2", "2024-06-01T10:00:00+02:60", "2024-06-01Z"] {
            assert_eq!(zoned(wrong), None, "{wrong}");
        }
    }
}
