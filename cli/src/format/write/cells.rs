//! Values as fields of comma-separated text, for the types that most files have: byte for byte as arrow's writer writes them,
//! in a fraction of the time. Everything else is left to that.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use chrono::{Datelike, NaiveDate};

/// Appends the field of a row that has a value.
type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// The fields of a column.
pub struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    write: Write<'a>,
}

/// Days since 1970 of which the year has four digits.
const FOUR_DIGITS: std::ops::RangeInclusive<i32> = -719_528..=2_932_896;

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
                let printable = |row: usize| column.is_null(row) || FOUR_DIGITS.contains(&values[row]);
                if !(0..column.len()).all(printable) {
                    return None;
                }
                Box::new(|row, out| date(values[row], out))
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

fn date(days: i32, out: &mut Vec<u8>) {
    let Some(date) = NaiveDate::from_epoch_days(days) else { return };
    let digit = |number: u32, power: u32| b'0' + (number / power % 10) as u8;
    let (year, month, day) = (date.year().unsigned_abs(), date.month(), date.day());
    out.extend([digit(year, 1000), digit(year, 100), digit(year, 10), digit(year, 1), b'-']);
    out.extend([digit(month, 10), digit(month, 1), b'-', digit(day, 10), digit(day, 1)]);
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
        RecordBatch, StringArray, StringViewArray, UInt64Array,
    };

    use super::{Cells, rows};

    /// Fields are what arrow's writer makes of the same values: of each type, at the ends of its range, with quotes and without.
    #[test]
    fn fields_are_those_of_arrows_writer() {
        let texts = ["", "a", "a,b", "\"", "x\"\"y\"", "line\nline", "\r", "tab\there", " ", "é", "it's", "\u{0}"];
        let texts: Vec<Option<&str>> = texts.into_iter().map(Some).chain([None]).collect();
        let count = texts.len();
        let numbers =
            |i: usize| [0.0, -0.0, 1.5, 1e300, -2.5e-9, 1e16, 123_456.75, f64::NAN, f64::INFINITY, f64::MIN][i % 10];
        let days = |i: usize| [0, -1, 19_000, -719_528, 2_932_896, 11_016][i % 6];
        let wholes = |i: usize| [0, i64::MIN, i64::MAX, -7, 10, 99_999][i % 6];
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
    }
}
