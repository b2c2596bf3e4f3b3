//! Values as fields of comma-separated text, for the types that most files have: byte for byte as arrow's writer writes them,
//! in a fraction of the time. Everything else is left to that.

use std::ops::RangeInclusive;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTimestampType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};
use chrono::{Datelike, NaiveDate};

/// Appends the field of a row that has a value.
type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// The fields of a column.
pub struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    write: Write<'a>,
}

/// Days since 1970 of which the year has four digits.
const FOUR_DIGITS: RangeInclusive<i64> = -719_528..=2_932_896;

const SECONDS_A_DAY: i64 = 86_400;

impl<'a> Cells<'a> {
    /// The fields of a column; `None` if its values are not printed here.
    pub fn of(column: &'a ArrayRef, delimiter: u8) -> Option<Cells<'a>> {
        // Numbers and dates need no quotes.
        if !matches!(delimiter, b',' | b'\t') {
            return None;
        }
        let write: Write<'a> = match column.data_type() {
            DataType::Boolean => {
                let values = column.as_boolean();
                Box::new(|row, out| out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }))
            }
            DataType::Int8 => whole::<Int8Type>(column),
            DataType::Int16 => whole::<Int16Type>(column),
            DataType::Int32 => whole::<Int32Type>(column),
            DataType::Int64 => whole::<Int64Type>(column),
            DataType::UInt8 => whole::<UInt8Type>(column),
            DataType::UInt16 => whole::<UInt16Type>(column),
            DataType::UInt32 => whole::<UInt32Type>(column),
            DataType::UInt64 => whole::<UInt64Type>(column),
            DataType::Float32 => float::<Float32Type>(column),
            DataType::Float64 => float::<Float64Type>(column),
            DataType::Date32 => {
                let values = column.as_primitive::<Date32Type>().values();
                all(column, |row| FOUR_DIGITS.contains(&values[row].into()))?;
                Box::new(|row, out| date(values[row], out))
            }
            DataType::Timestamp(unit, zone) => {
                let end: &[u8] = match zone.as_deref() {
                    None => b"",
                    Some("UTC" | "+00:00") => b"Z",
                    Some(_) => return None,
                };
                match unit {
                    TimeUnit::Second => moment::<TimestampSecondType>(column, 1, end)?,
                    TimeUnit::Millisecond => moment::<TimestampMillisecondType>(column, 1_000, end)?,
                    TimeUnit::Microsecond => moment::<TimestampMicrosecondType>(column, 1_000_000, end)?,
                    TimeUnit::Nanosecond => moment::<TimestampNanosecondType>(column, 1_000_000_000, end)?,
                }
            }
            DataType::Utf8 => {
                let values = column.as_string::<i32>();
                Box::new(move |row, out| text(values.value(row).as_bytes(), delimiter, out))
            }
            DataType::LargeUtf8 => {
                let values = column.as_string::<i64>();
                Box::new(move |row, out| text(values.value(row).as_bytes(), delimiter, out))
            }
            DataType::Utf8View => {
                let values = column.as_string_view();
                Box::new(move |row, out| text(values.value(row).as_bytes(), delimiter, out))
            }
            _ => return None,
        };
        Some(Cells { nulls: column.nulls(), write })
    }

    /// Appends the field of a row.
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            (self.write)(row, out);
        }
    }
}

/// Appends rows of several columns.
pub fn rows(columns: &[Cells<'_>], count: usize, delimiter: u8, out: &mut Vec<u8>) {
    for row in 0..count {
        let start = out.len();
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                out.push(delimiter);
            }
            column.write(row, out);
        }
        // A line without anything would be no row.
        if out.len() == start {
            out.extend_from_slice(b"\"\"");
        }
        out.push(b'\n');
    }
}

fn whole<T: ArrowPrimitiveType<Native: itoa::Integer>>(column: &ArrayRef) -> Write<'_> {
    let values = column.as_primitive::<T>().values();
    Box::new(|row, out| out.extend_from_slice(itoa::Buffer::new().format(values[row]).as_bytes()))
}

fn float<T: ArrowPrimitiveType<Native: ryu::Float>>(column: &ArrayRef) -> Write<'_> {
    let values = column.as_primitive::<T>().values();
    Box::new(|row, out| out.extend_from_slice(ryu::Buffer::new().format(values[row]).as_bytes()))
}

/// `None` unless all values of a column are printed here.
fn all(column: &ArrayRef, is_printable: impl Fn(usize) -> bool) -> Option<()> {
    (0..column.len()).all(|row| column.is_null(row) || is_printable(row)).then_some(())
}

fn date(days: i32, out: &mut Vec<u8>) {
    let Some(date) = NaiveDate::from_epoch_days(days) else { return };
    let (year, month, day) = (date.year().unsigned_abs(), date.month(), date.day());
    out.extend([digit(year, 1000), digit(year, 100), digit(year, 10), digit(year, 1), b'-']);
    out.extend([digit(month, 10), digit(month, 1), b'-', digit(day, 10), digit(day, 1)]);
}

fn digit(number: u32, power: u32) -> u8 {
    b'0' + (number / power % 10) as u8
}

/// Date and time of day, with as many groups of three digits behind the second as say something, and `end`. `a_second`: how many of
/// the column's units.
fn moment<'a, T: ArrowTimestampType>(column: &'a ArrayRef, a_second: i64, end: &'static [u8]) -> Option<Write<'a>> {
    let values = column.as_primitive::<T>().values();
    let days = move |value: i64| value.div_euclid(a_second).div_euclid(SECONDS_A_DAY);
    all(column, |row| FOUR_DIGITS.contains(&days(values[row])))?;
    Some(Box::new(move |row, out| {
        let value = values[row];
        // Checked above.
        date(days(value) as i32, out);
        let second = value.div_euclid(a_second).rem_euclid(SECONDS_A_DAY) as u32;
        let nanosecond = (value.rem_euclid(a_second) * (1_000_000_000 / a_second)) as u32;
        out.push(b'T');
        for (number, before) in [(second / 3600, None), (second / 60 % 60, Some(b':')), (second % 60, Some(b':'))] {
            out.extend(before);
            out.extend([digit(number, 10), digit(number, 1)]);
        }
        if nanosecond != 0 {
            out.push(b'.');
            let groups = [nanosecond / 1_000_000, nanosecond / 1_000 % 1_000, nanosecond % 1_000];
            let last = groups.iter().rposition(|group| *group != 0).unwrap_or(0);
            for group in &groups[..=last] {
                out.extend([digit(*group, 100), digit(*group, 10), digit(*group, 1)]);
            }
        }
        out.extend_from_slice(end);
    }))
}

/// Appends text, in quotes if something in it would end the field otherwise.
fn text(text: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    if !text.iter().any(|byte| matches!(byte, b'"' | b'\n' | b'\r') || *byte == delimiter) {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    for part in text.split_inclusive(|byte| *byte == b'"') {
        out.extend_from_slice(part);
        if part.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray,
        RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
        TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    };

    use super::{Cells, rows};

    /// Fields are what arrow's writer makes of the same values: of each type, at the ends of its range, with quotes and without.
    #[test]
    fn fields_are_those_of_arrows_writer() {
        let texts = ["", "a", "a,b", "\"", "x\"\"y\"", "line\nline", "\r", "tab\there", " ", "é", "it's", "\u{0}"];
        let texts: Vec<Option<&str>> = texts.into_iter().map(Some).chain([None]).cycle().take(56).collect();
        let count = texts.len();
        let numbers =
            |i: usize| [0.0, -0.0, 1.5, 1e300, -2.5e-9, 1e16, 123_456.75, f64::NAN, f64::INFINITY, f64::MIN][i % 10];
        let days = |i: usize| [0, -1, 19_000, -719_528, 2_932_896, 11_016][i % 6];
        let wholes = |i: usize| [0, i64::MIN, i64::MAX, -7, 10, 99_999][i % 6];
        // The first and the last second whose year has four digits, and others.
        let seconds = |i: usize| [0, -1, 1_700_000_000, -62_167_219_200, 253_402_300_799, 86_399, -86_400][i % 7];
        let parts = |i: usize| [0, 1, 500_000_000, 123_456_789, 1_000, 20_000_000, 999_999_999, 1_000_000][i % 8];
        let units = |i: usize, a_second: i64| Some(seconds(i) * a_second + parts(i) / (1_000_000_000 / a_second));
        let nanoseconds =
            |i: usize| [0, 1, -1, i64::MIN, i64::MAX, 1_700_000_000_123_456_789, 86_400_000_000_000][i % 7];
        let some = |i: usize| !i.is_multiple_of(5);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("t", Arc::new(StringArray::from(texts.clone()))),
            ("l", Arc::new(LargeStringArray::from(texts.clone()))),
            ("v", Arc::new(StringViewArray::from(texts.clone()))),
            ("b", Arc::new((0..count).map(|i| some(i).then_some(i % 2 == 0)).collect::<BooleanArray>())),
            ("i", Arc::new((0..count).map(|i| some(i).then(|| wholes(i))).collect::<Int64Array>())),
            ("s", Arc::new((0..count).map(|i| Some(i as i8 - 9)).collect::<Int8Array>())),
            ("u", Arc::new((0..count).map(|i| Some(u64::MAX - i as u64)).collect::<UInt64Array>())),
            ("f", Arc::new((0..count).map(|i| some(i).then(|| numbers(i))).collect::<Float64Array>())),
            ("g", Arc::new((0..count).map(|i| some(i).then(|| numbers(i) as f32)).collect::<Float32Array>())),
            ("d", Arc::new((0..count).map(|i| some(i).then(|| days(i))).collect::<Date32Array>())),
            ("ts", Arc::new((0..count).map(|i| units(i, 1)).collect::<TimestampSecondArray>())),
            ("tm", Arc::new((0..count).map(|i| units(i, 1_000)).collect::<TimestampMillisecondArray>())),
            ("tu", Arc::new((0..count).map(|i| units(i, 1_000_000)).collect::<TimestampMicrosecondArray>())),
            ("tn", Arc::new((0..count).map(|i| Some(nanoseconds(i))).collect::<TimestampNanosecondArray>())),
            (
                "zm",
                Arc::new(
                    (0..count).map(|i| units(i, 1_000)).collect::<TimestampMillisecondArray>().with_timezone("UTC"),
                ),
            ),
            (
                "zn",
                Arc::new(
                    (0..count)
                        .map(|i| Some(nanoseconds(i)))
                        .collect::<TimestampNanosecondArray>()
                        .with_timezone("+00:00"),
                ),
            ),
        ];
        let alone = columns.iter().map(|column| vec![column.clone()]);
        for columns in alone.chain([columns.clone()]) {
            let batch = RecordBatch::try_from_iter(columns.clone()).unwrap();
            for delimiter in [b',', b'\t'] {
                let mut expected = Vec::new();
                let writer = arrow_csv::WriterBuilder::new().with_header(false).with_delimiter(delimiter);
                writer.build(&mut expected).write(&batch).unwrap();
                let cells: Vec<Cells<'_>> =
                    batch.columns().iter().map(|column| Cells::of(column, delimiter).unwrap()).collect();
                let mut made = Vec::new();
                rows(&cells, batch.num_rows(), delimiter, &mut made);
                assert_eq!(String::from_utf8(made), String::from_utf8(expected), "{:?}", batch.schema());
            }
        }
        let far: ArrayRef = Arc::new(Date32Array::from(vec![0, 2_932_897]));
        assert!(Cells::of(&far, b',').is_none(), "its years have more digits");
        for outside in [-62_167_219_201, 253_402_300_800, i64::MIN, i64::MAX] {
            let far: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0, outside]));
            assert!(Cells::of(&far, b',').is_none(), "its years have more digits");
        }
        let elsewhere: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0]).with_timezone("+02:00"));
        assert!(Cells::of(&elsewhere, b',').is_none(), "its time of day is another");
    }
}
