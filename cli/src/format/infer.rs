//! The column types of a CSV file, found by reading it once.
//!
//! A type is chosen only if every value seen can be read as it and written again as the same
//! value: `007` and numbers that do not fit an i64 stay text, dates must exist.

use std::io::Read;

use arrow_array::types::Date32Type;
use arrow_cast::parse::{Parser, string_to_datetime};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use chrono::Utc;

use crate::failure::{Failure, Result};
use crate::signal;

/// What the first reading of a CSV file found.
#[derive(Debug)]
pub struct Inferred {
    /// A nullable field for each column.
    pub schema: Schema,
    /// Rows that were looked at.
    pub rows: u64,
    /// Bytes that they take in the file, about.
    pub bytes: u64,
}

/// How a CSV file is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Between fields.
    pub delimiter: u8,
    /// Whether the first row holds the names.
    pub header: bool,
}

/// What the values of one column have been so far, as a set.
#[derive(Clone, Copy, Debug, Default)]
struct Seen(u16);

const BOOLEAN: u16 = 1;
const INTEGER: u16 = 2;
const FLOAT: u16 = 4;
const DATE: u16 = 8;
const SECONDS: u16 = 16;
const MILLIS: u16 = 32;
const MICROS: u16 = 64;
const NANOS: u16 = 128;
const TEXT: u16 = 256;

impl Seen {
    fn add(&mut self, value: &str) {
        // Text stays text: no need to look closer.
        if self.0 & TEXT == 0 && !value.is_empty() {
            self.0 |= class(value);
        }
    }

    fn data_type(self) -> DataType {
        match self.0 {
            0 => DataType::Null,
            BOOLEAN => DataType::Boolean,
            INTEGER => DataType::Int64,
            set if set & !(INTEGER | FLOAT) == 0 => DataType::Float64,
            DATE => DataType::Date32,
            set if set & !(DATE | SECONDS | MILLIS | MICROS | NANOS) == 0 => {
                // The finest fraction that occurs.
                let unit = if set & NANOS != 0 {
                    TimeUnit::Nanosecond
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
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match digits.first() {
        Some(b'0'..=b'9' | b'.') => number_or_time(value, digits),
        _ if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => BOOLEAN,
        _ if matches!(value, "NaN" | "nan" | "inf" | "-inf") => FLOAT,
        _ => TEXT,
    }
}

fn number_or_time(value: &str, digits: &[u8]) -> u16 {
    if digits.iter().all(u8::is_ascii_digit) {
        let leading_zero = digits.len() > 1 && digits[0] == b'0';
        return match leading_zero || value == "-0" || value.parse::<i64>().is_err() {
            true => TEXT,
            false => INTEGER,
        };
    }
    let zeros = digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit();
    let plain = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    if !zeros && digits.iter().all(plain) && value.parse::<f64>().is_ok_and(f64::is_finite) {
        return FLOAT;
    }
    if is_date(digits) && digits.len() == value.len() {
        if value.len() == 10 {
            return match Date32Type::parse(value) {
                Some(_) => DATE,
                None => TEXT,
            };
        }
        // A zone would be lost: such a column has one type and the values may have several.
        if value[19..].trim_start_matches('.').bytes().all(|b| b.is_ascii_digit())
            && string_to_datetime(&Utc, value).is_ok()
        {
            return match value.len() {
                19 => SECONDS,
                21..=23 => MILLIS,
                24..=26 => MICROS,
                27..=29 => NANOS,
                _ => TEXT,
            };
        }
    }
    TEXT
}

/// `dddd-dd-dd`, alone or followed by `Tdd:dd:dd` or ` dd:dd:dd`.
fn is_date(bytes: &[u8]) -> bool {
    let pattern = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, pattern): (&u8, &u8)| match pattern {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' '),
        other => byte == other,
    };
    (bytes.len() == 10 || bytes.len() >= 19) && bytes.iter().zip(pattern).all(fits)
}

/// Reads up to `rows` rows and finds the type of each column. Columns named in `text` stay text.
pub fn infer(source: impl Read, layout: Layout, rows: Option<u64>, text: &[String]) -> Result<Inferred> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(layout.header)
        .delimiter(layout.delimiter)
        .buffer_capacity(256 * 1024)
        .from_reader(source);
    // Without a header this is the first row.
    let first = reader.byte_headers().map_err(csv_failure)?.clone();
    let mut names = Vec::with_capacity(first.len());
    for (i, name) in first.iter().enumerate() {
        names.push(match layout.header {
            false => format!("column_{}", i + 1),
            true => match std::str::from_utf8(name) {
                Ok(name) => name.to_owned(),
                Err(_) => return Err(not_utf8(1)),
            },
        });
    }
    if names.is_empty() {
        return Err(Failure::new("the file is empty: there is no row to tell its columns"));
    }
    if let Some(missing) = text.iter().find(|name| !names.contains(name)) {
        return Err(Failure::new(format!(
            "there is no column `{missing}` to keep as text; the columns are {}",
            names.join(", ")
        )));
    }
    let mut seen = vec![Seen::default(); names.len()];
    for (seen, name) in seen.iter_mut().zip(&names) {
        if text.contains(name) {
            seen.0 = TEXT;
        }
    }
    let mut record = csv::ByteRecord::new();
    let mut count = 0;
    while rows.is_none_or(|rows| count < rows) && reader.read_byte_record(&mut record).map_err(csv_failure)? {
        count += 1;
        if count % 4096 == 0 {
            signal::check()?;
        }
        for (seen, field) in seen.iter_mut().zip(record.iter()) {
            match std::str::from_utf8(field) {
                Ok(value) => seen.add(value),
                Err(_) => return Err(not_utf8(reader.position().line())),
            }
        }
    }
    let fields = names.into_iter().zip(&seen);
    let fields: Vec<Field> = fields.map(|(name, seen)| Field::new(name, seen.data_type(), true)).collect();
    Ok(Inferred { schema: Schema::new(fields), rows: count, bytes: reader.position().byte() })
}

fn not_utf8(line: u64) -> Failure {
    Failure::new(format!(
        "the text near line {line} is not UTF-8: convert the file first, as with \
         `iconv -f LATIN1 -t UTF-8`"
    ))
}

fn csv_failure(error: csv::Error) -> Failure {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => Failure::new(format!(
            "line {} has {len} fields where the rows before have {expected_len}: \
             correct it, or give the right --delimiter",
            pos.as_ref().map_or(0, csv::Position::line)
        )),
        csv::ErrorKind::Io(cause) => Failure::new(cause),
        _ => Failure::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, infer};
    use arrow_schema::{DataType, TimeUnit};

    fn types(text: &str) -> Vec<DataType> {
        let layout = Layout { delimiter: b',', header: true };
        let schema = infer(text.as_bytes(), layout, None, &[]).unwrap().schema;
        let types = schema.fields().iter().map(|field| field.data_type().clone());
        types.collect()
    }

    fn column(values: &[&str]) -> DataType {
        types(&format!("a\n{}\n", values.join("\n"))).remove(0)
    }

    #[test]
    fn types_hold_every_value_as_it_is() {
        assert_eq!(column(&["1", "-20", "9223372036854775807"]), DataType::Int64);
        assert_eq!(column(&["9223372036854775808"]), DataType::Utf8);
        assert_eq!(column(&["02134"]), DataType::Utf8);
        assert_eq!(column(&["02134.5"]), DataType::Utf8);
        assert_eq!(column(&["0", "-1"]), DataType::Int64);
        assert_eq!(column(&["0.5", "1", "-1e10", "NaN", ".5"]), DataType::Float64);
        assert_eq!(column(&["1e999"]), DataType::Utf8);
        assert_eq!(column(&["1.2.3"]), DataType::Utf8);
        assert_eq!(column(&["True", "false"]), DataType::Boolean);
        assert_eq!(column(&["true", "1"]), DataType::Utf8);
        assert_eq!(column(&["\"\""]), DataType::Null);
        assert_eq!(column(&["1", "\"\"", "2"]), DataType::Int64);
        assert_eq!(column(&["-"]), DataType::Utf8);
    }

    #[test]
    fn dates_must_exist() {
        let timestamp = |unit| DataType::Timestamp(unit, None);
        assert_eq!(column(&["2024-02-29"]), DataType::Date32);
        assert_eq!(column(&["2023-02-29"]), DataType::Utf8);
        assert_eq!(column(&["2024-02-29 10:20:30"]), timestamp(TimeUnit::Second));
        assert_eq!(column(&["2024-02-29", "2024-02-29T10:20:30"]), timestamp(TimeUnit::Second));
        assert_eq!(column(&["2024-02-29T10:20:30.25"]), timestamp(TimeUnit::Millisecond));
        assert_eq!(column(&["2024-02-29T10:20:30.123456"]), timestamp(TimeUnit::Microsecond));
        assert_eq!(column(&["2024-02-29T10:20:30.123456789"]), timestamp(TimeUnit::Nanosecond));
        assert_eq!(column(&["2024-02-29T25:20:30"]), DataType::Utf8);
        assert_eq!(column(&["2024-02-29T10:20:30+02:00"]), DataType::Utf8);
        assert_eq!(column(&["10:20:30"]), DataType::Utf8);
        assert_eq!(column(&["2024-02-29x10:20:30"]), DataType::Utf8);
    }

    #[test]
    fn wrong_files_are_told_in_words() {
        let layout = Layout { delimiter: b',', header: true };
        let wrong = |bytes: &[u8]| format!("{:?}", infer(bytes, layout, None, &[]).unwrap_err());
        assert!(wrong(b"").contains("empty"));
        assert!(wrong(b"a,b\n1,2\n1,2,3\n").contains("line 3 has 3 fields"));
        assert!(wrong(b"a,b\n1,\xff\n").contains("not UTF-8"));
        let names = vec!["c".to_owned()];
        assert!(infer(&b"a,b\n"[..], layout, None, &names).is_err());
    }

    #[test]
    fn a_header_alone_is_a_table_without_rows() {
        assert_eq!(types("a,b\n"), [DataType::Null, DataType::Null]);
    }
}
