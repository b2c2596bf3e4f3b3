//! Elements of arrays as people, CSV and JSON read them, whatever their type is.

use std::fmt::{Debug, Display};
use std::io::{self, Write};

use chrono::{DateTime, Months, NaiveDate, TimeDelta};
use faretra::{ByteOrder, DType, DTypeKind, DatetimeUnit, DynArray, TimeStep};
use half::f16;
use num_complex::Complex;

use crate::failure::{Failure, Result};

/// How `cat` prints an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As ndarray prints arrays: shortened in the middle.
    Text,
    /// Rows of values; of rank 1 and 2 only.
    Csv,
    /// Nested lists.
    Json,
}

/// An array, or a part of one: where its elements lie in `bytes`.
#[derive(Clone, Copy, Debug)]
struct Items<'a> {
    dtype: &'a DType,
    bytes: &'a [u8],
    /// Where the first element begins.
    at: usize,
    shape: &'a [usize],
    strides: &'a [isize],
}

impl<'a> Items<'a> {
    /// Items of the first axis, each with one axis less.
    fn item(self, index: usize) -> Items<'a> {
        let at = self.at + index * self.strides.first().copied().unwrap_or(0).unsigned_abs();
        let (shape, strides) = (self.shape.get(1..), self.strides.get(1..));
        Items { at, shape: shape.unwrap_or_default(), strides: strides.unwrap_or_default(), ..self }
    }

    /// The only element of an array without axes.
    fn element(self) -> Element<'a> {
        let bytes = self.bytes.get(self.at..).and_then(|bytes| bytes.get(..self.dtype.itemsize()));
        Element { dtype: self.dtype, bytes: bytes.unwrap_or_default() }
    }

    fn len(self) -> usize {
        self.shape.iter().product()
    }
}

/// Prints an array, or the first `head` items of its first axis.
pub fn print(array: &DynArray, style: Style, head: Option<usize>, out: &mut impl Write) -> Result<()> {
    let strides = array.strides();
    let mut shape = array.shape().to_vec();
    if let (Some(head), Some(length)) = (head, shape.first_mut()) {
        *length = head.min(*length);
    }
    let items = Items { dtype: array.dtype(), bytes: array.bytes(), at: 0, shape: &shape, strides: &strides };
    match style {
        Style::Text => {
            text(items, out)?;
            let name = array.dtype().element().map_or_else(|| array.dtype().to_string(), |element| element.to_string());
            writeln!(out, "\n{name} array of shape {:?}", array.shape())?;
        }
        Style::Json => {
            json(items, out)?;
            writeln!(out)?;
        }
        Style::Csv if shape.len() > 2 => {
            return Err(Failure::new(format!(
                "CSV has rows and columns, the array has {} axes: use --format json or export \
                 it to .npy",
                shape.len()
            )));
        }
        Style::Csv => csv(items, out)?,
    }
    Ok(())
}

/// From so many elements on, the middle of each axis is left out.
const MANY: usize = 500;

/// Nested lists over lines, as `ndarray` lays them out.
fn text(items: Items<'_>, out: &mut impl Write) -> io::Result<()> {
    if items.len() == 0 {
        let axes = items.shape.len();
        return write!(out, "{}{}", "[".repeat(axes), "]".repeat(axes));
    }
    let many = items.len() >= MANY;
    nested_text(items, 0, many, out)
}

fn nested_text(items: Items<'_>, depth: usize, many: bool, out: &mut impl Write) -> io::Result<()> {
    let Some((&length, inner)) = items.shape.split_first() else {
        return items.element().text(out);
    };
    let separator = match inner.len() {
        0 => ", ".to_owned(),
        below => format!(",\n{}{}", "\n".repeat(below - 1), " ".repeat(depth + 1)),
    };
    // Axes that are rows or columns may be longer.
    let most = match (many, inner.len()) {
        (false, _) => usize::MAX,
        (true, 0 | 1) => 11,
        (true, _) => 6,
    };
    let edge = if length > most { most / 2 } else { length };
    write!(out, "[")?;
    for i in 0..edge {
        if i > 0 {
            write!(out, "{separator}")?;
        }
        nested_text(items.item(i), depth + 1, many, out)?;
    }
    if length > most {
        write!(out, "{separator}...")?;
        for i in length - edge..length {
            write!(out, "{separator}")?;
            nested_text(items.item(i), depth + 1, many, out)?;
        }
    }
    write!(out, "]")
}

fn json(items: Items<'_>, out: &mut impl Write) -> io::Result<()> {
    let Some(&length) = items.shape.first() else {
        return items.element().json(out);
    };
    write!(out, "[")?;
    for i in 0..length {
        if i > 0 {
            write!(out, ",")?;
        }
        json(items.item(i), out)?;
    }
    write!(out, "]")
}

/// Rows of values. Records in one row are a table: a column for each field, and their names first.
fn csv(items: Items<'_>, out: &mut impl Write) -> io::Result<()> {
    let fields = items.dtype.fields();
    if !fields.is_empty() && items.shape.len() < 2 {
        csv_line(fields.iter().map(|field| field.name.clone()), out)?;
    }
    if items.shape.is_empty() {
        return csv_row([items.element()].into_iter(), out);
    }
    for i in 0..items.shape[0] {
        let row = items.item(i);
        if row.shape.is_empty() {
            csv_row([row.element()].into_iter(), out)?;
        } else {
            let cells = (0..row.shape[0]).map(|j| row.item(j).element().cell());
            csv_line(cells, out)?;
        }
    }
    Ok(())
}

fn csv_row<'a>(elements: impl Iterator<Item = Element<'a>>, out: &mut impl Write) -> io::Result<()> {
    csv_line(
        elements.flat_map(|element| match element.dtype.kind() {
            DTypeKind::Record(_) => element.parts().map(|(_, part)| part.cell()).collect(),
            _ => vec![element.cell()],
        }),
        out,
    )
}

fn csv_line(cells: impl Iterator<Item = String>, out: &mut impl Write) -> io::Result<()> {
    for (i, cell) in cells.enumerate() {
        if i > 0 {
            write!(out, ",")?;
        }
        if cell.contains(['"', ',', '\n', '\r']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            write!(out, "{cell}")?;
        }
    }
    writeln!(out)
}

/// One element of an array.
#[derive(Clone, Copy, Debug)]
struct Element<'a> {
    dtype: &'a DType,
    bytes: &'a [u8],
}

/// What an element without parts says.
enum Said {
    /// A number: how JSON says it, and how people do.
    Number {
        json: String,
        text: String,
    },
    Text(String),
    /// No time.
    Nothing,
}

impl Said {
    fn number(value: impl Display) -> Said {
        let text = value.to_string();
        Said::Number { json: text.clone(), text }
    }
}

/// A float as JSON says it, which has no word for what is not finite.
fn float(value: impl Display, finite: bool) -> String {
    if finite { value.to_string() } else { "null".to_owned() }
}

impl<'a> Element<'a> {
    /// The fields of a record.
    fn parts(self) -> impl Iterator<Item = (&'a str, Element<'a>)> {
        self.dtype.fields().iter().map(move |field| {
            let end = field.offset + field.dtype.itemsize();
            let bytes = self.bytes.get(field.offset..end).unwrap_or_default();
            (field.name.as_str(), Element { dtype: &field.dtype, bytes })
        })
    }

    /// Runs `f` with the items of a sub-array.
    fn items<T>(self, base: &DType, shape: &[usize], f: impl FnOnce(Items<'_>) -> T) -> T {
        let mut strides = vec![0; shape.len()];
        let mut step = base.itemsize();
        for (stride, n) in strides.iter_mut().zip(shape).rev() {
            *stride = step as isize;
            step *= n;
        }
        f(Items { dtype: base, bytes: self.bytes, at: 0, shape, strides: &strides })
    }

    fn text(self, out: &mut impl Write) -> io::Result<()> {
        match self.dtype.kind() {
            DTypeKind::Record(_) => {
                write!(out, "(")?;
                for (i, (_, part)) in self.parts().enumerate() {
                    if i > 0 {
                        write!(out, ", ")?;
                    }
                    // A field prints on one line; the writer is named so that the function is not one of each depth.
                    let mut line = Vec::new();
                    part.text(&mut line)?;
                    out.write_all(&line)?;
                }
                write!(out, ")")
            }
            DTypeKind::Array(base, shape) => {
                let mut line = Vec::new();
                self.items(base, shape, |items| flat_text(items, &mut line))?;
                out.write_all(&line)
            }
            _ => match self.said() {
                Said::Number { text, .. } => write!(out, "{text}"),
                Said::Text(text) => write!(out, "{}", serde_json::Value::from(text)),
                Said::Nothing => write!(out, "NaT"),
            },
        }
    }

    fn json(self, out: &mut impl Write) -> io::Result<()> {
        match self.dtype.kind() {
            DTypeKind::Record(_) => {
                write!(out, "{{")?;
                for (i, (name, part)) in self.parts().enumerate() {
                    write!(out, "{}{}:", if i > 0 { "," } else { "" }, serde_json::Value::from(name))?;
                    let mut value = Vec::new();
                    part.json(&mut value)?;
                    out.write_all(&value)?;
                }
                write!(out, "}}")
            }
            DTypeKind::Array(base, shape) => {
                let mut value = Vec::new();
                self.items(base, shape, |items| json(items, &mut value))?;
                out.write_all(&value)
            }
            _ => match self.said() {
                Said::Number { json, .. } => write!(out, "{json}"),
                Said::Text(text) => write!(out, "{}", serde_json::Value::from(text)),
                Said::Nothing => write!(out, "null"),
            },
        }
    }

    /// As a cell of CSV: what has parts is JSON there.
    fn cell(self) -> String {
        match self.dtype.kind() {
            DTypeKind::Record(_) | DTypeKind::Array(..) => {
                let mut value = Vec::new();
                // Memory takes all.
                let _ = self.json(&mut value);
                String::from_utf8_lossy(&value).into_owned()
            }
            _ => match self.said() {
                Said::Number { text, .. } | Said::Text(text) => text,
                Said::Nothing => String::new(),
            },
        }
    }

    fn said(self) -> Said {
        let size = self.bytes.len();
        match self.dtype.kind() {
            DTypeKind::Bool => Said::number(self.bytes.first().is_some_and(|&byte| byte != 0)),
            DTypeKind::UInt => Said::number(self.unsigned()),
            DTypeKind::Int => Said::number(self.signed()),
            DTypeKind::Float => match (size, self.unsigned()) {
                (2, bits) => {
                    let value = f16::from_bits(bits as u16);
                    Said::Number { json: float(value, value.is_finite()), text: value.to_string() }
                }
                (4, bits) => {
                    let value = f32::from_bits(bits as u32);
                    Said::Number { json: float(value, value.is_finite()), text: value.to_string() }
                }
                (8, bits) => {
                    let value = f64::from_bits(bits as u64);
                    Said::Number { json: float(value, value.is_finite()), text: value.to_string() }
                }
                _ => Said::Text(hex(self.bytes)),
            },
            DTypeKind::Complex if size <= 16 => {
                let (re, im) = self.bytes.split_at(size / 2);
                let part = |bytes| Element { dtype: self.dtype, bytes }.unsigned();
                let (re, im) = (part(re), part(im));
                if size == 8 {
                    complex(Complex::new(f32::from_bits(re as u32), f32::from_bits(im as u32)), f32::is_finite)
                } else {
                    complex(Complex::new(f64::from_bits(re as u64), f64::from_bits(im as u64)), f64::is_finite)
                }
            }
            DTypeKind::Datetime(step) => match self.signed() as i64 {
                i64::MIN => Said::Nothing,
                count => date(count, step).map_or_else(|| Said::number(count), Said::Text),
            },
            DTypeKind::Timedelta(step) => match self.signed() as i64 {
                i64::MIN => Said::Nothing,
                count => {
                    let json = (i128::from(count) * i128::from(step.count)).to_string();
                    let text = format!("{json} {}", step.unit.name()).trim_end().to_owned();
                    Said::Number { json, text }
                }
            },
            DTypeKind::Bytes => {
                let end = self.bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                let bytes = &self.bytes[..end];
                Said::Text(match std::str::from_utf8(bytes) {
                    Ok(text) => text.to_owned(),
                    Err(_) => bytes.escape_ascii().to_string(),
                })
            }
            DTypeKind::Unicode => {
                let point = |bytes| Element { dtype: self.dtype, bytes }.unsigned() as u32;
                let mut text: String = self
                    .bytes
                    .chunks(4)
                    .map(|bytes| char::from_u32(point(bytes)).unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect();
                text.truncate(text.trim_end_matches('\0').len());
                Said::Text(text)
            }
            _ => Said::Text(hex(self.bytes)),
        }
    }

    /// The bytes as a number in the type's order.
    fn unsigned(self) -> u128 {
        let push = |value: u128, &byte: &u8| value << 8 | u128::from(byte);
        match self.dtype.byte_order() {
            ByteOrder::Big => self.bytes.iter().fold(0, push),
            _ => self.bytes.iter().rev().fold(0, push),
        }
    }

    fn signed(self) -> i128 {
        let unused = 128 - 8 * self.bytes.len().clamp(1, 16) as u32;
        ((self.unsigned() << unused) as i128) >> unused
    }
}

/// A sub-array, on one line.
fn flat_text(items: Items<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let Some(&length) = items.shape.first() else {
        return items.element().text(out);
    };
    write!(out, "[")?;
    for i in 0..length {
        if i > 0 {
            write!(out, ", ")?;
        }
        flat_text(items.item(i), out)?;
    }
    write!(out, "]")
}

fn complex<T: Copy + Display + Debug>(value: Complex<T>, finite: impl Fn(T) -> bool) -> Said
where
    Complex<T>: Display,
{
    let json = format!("[{},{}]", float(value.re, finite(value.re)), float(value.im, finite(value.im)));
    Said::Number { json, text: value.to_string() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A `datetime64` as numpy writes it, or `None` if it is further from now than the calendar here goes, or has no unit.
fn date(count: i64, step: TimeStep) -> Option<String> {
    let count = i128::from(count) * i128::from(step.count);
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let months = |months: i128| {
        let shift = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
        if months < 0 { epoch.checked_sub_months(shift) } else { epoch.checked_add_months(shift) }
    };
    let day = |days: i128| epoch.checked_add_signed(TimeDelta::try_days(i64::try_from(days).ok()?)?);
    // Units of a second, and the digits that they are.
    let (per_second, digits) = match step.unit {
        DatetimeUnit::Year => return Some(months(count.checked_mul(12)?)?.format("%Y").to_string()),
        DatetimeUnit::Month => return Some(months(count)?.format("%Y-%m").to_string()),
        DatetimeUnit::Week => return Some(day(count.checked_mul(7)?)?.to_string()),
        DatetimeUnit::Day => return Some(day(count)?.to_string()),
        DatetimeUnit::Hour | DatetimeUnit::Minute | DatetimeUnit::Second => (1, 0),
        DatetimeUnit::Millisecond => (1_000, 3),
        DatetimeUnit::Microsecond => (1_000_000, 6),
        DatetimeUnit::Nanosecond => (1_000_000_000, 9),
        DatetimeUnit::Picosecond => (1_000_000_000_000, 12),
        DatetimeUnit::Femtosecond => (1_000_000_000_000_000, 15),
        DatetimeUnit::Attosecond => (1_000_000_000_000_000_000, 18),
        _ => return None,
    };
    let (seconds, format) = match step.unit {
        DatetimeUnit::Hour => (count.checked_mul(3600)?, "%Y-%m-%dT%H"),
        DatetimeUnit::Minute => (count.checked_mul(60)?, "%Y-%m-%dT%H:%M"),
        _ => (count.div_euclid(per_second), "%Y-%m-%dT%H:%M:%S"),
    };
    let time = DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?.format(format).to_string();
    if digits == 0 {
        return Some(time);
    }
    Some(format!("{time}.{:0digits$}", count.rem_euclid(per_second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(dtype: &str, bytes: &[u8]) -> (String, String) {
        let dtype: DType = dtype.parse().unwrap();
        let element = Element { dtype: &dtype, bytes };
        let (mut text, mut json) = (vec![], vec![]);
        element.text(&mut text).unwrap();
        element.json(&mut json).unwrap();
        (String::from_utf8(text).unwrap(), String::from_utf8(json).unwrap())
    }

    /// Every kind of element is printed as numpy's value, in either order of bytes.
    #[test]
    fn elements_are_printed_as_what_they_mean() {
        let check = |dtype: &str, bytes: &[u8], text: &str, json: &str| {
            assert_eq!(said(dtype, bytes), (text.to_owned(), json.to_owned()), "{dtype}");
        };
        check("|b1", &[1], "true", "true");
        check("|i1", &[0xff], "-1", "-1");
        check("<i2", &[0xfe, 0xff], "-2", "-2");
        check(">i2", &[0xff, 0xfe], "-2", "-2");
        check(">u4", &[0, 0, 1, 2], "258", "258");
        check("<i16", &(-5_i128).to_le_bytes(), "-5", "-5");
        check("<u8", &u64::MAX.to_le_bytes(), "18446744073709551615", "18446744073709551615");
        check(">f4", &1.5_f32.to_be_bytes(), "1.5", "1.5");
        check("<f8", &f64::NAN.to_le_bytes(), "NaN", "null");
        check("<f2", &f16::from_f32(0.5).to_le_bytes(), "0.5", "0.5");
        check(">c8", &[1.0_f32.to_be_bytes(), (-2.0_f32).to_be_bytes()].concat(), "1-2i", "[1,-2]");
        check("|S5", b"Oslo\0", "\"Oslo\"", "\"Oslo\"");
        check("|S2", &[0xff, 0], "\"\\\\xff\"", "\"\\\\xff\"");
        check("<U3", &[0xe9, 0, 0, 0, b'"', 0, 0, 0, 0, 0, 0, 0], "\"é\\\"\"", "\"é\\\"\"");
        check(">U1", &[0, 1, 0xf6, 0], "\"😀\"", "\"😀\"");
        check("|V2", &[0, 0xab], "\"0x00ab\"", "\"0x00ab\"");
        check("<f16", &[1; 16], "\"0x01010101010101010101010101010101\"", "\"0x01010101010101010101010101010101\"");
        check("<m8[25s]", &4_i64.to_le_bytes(), "100 s", "100");
        check("<m8", &4_i64.to_le_bytes(), "4", "4");
        check("<m8[s]", &i64::MIN.to_le_bytes(), "NaT", "null");
        let record = "[('a', '<i2'), ('', '|V1'), ('b', [('c', '|S1')], (2,))]";
        check(
            record,
            &[1, 0, 9, b'x', b'y'],
            "(1, [(\"x\"), (\"y\")])",
            "{\"a\":1,\"b\":[{\"c\":\"x\"},{\"c\":\"y\"}]}",
        );
    }

    /// Dates are those of numpy, before 1970 and beyond the calendar too.
    #[test]
    fn dates_are_those_of_numpy() {
        for (unit, count, expected) in [
            ("Y", 50, "2020"),
            ("Y", -1, "1969"),
            ("M", -1, "1969-12"),
            ("M", 601, "2020-02"),
            ("W", -1, "1969-12-25"),
            ("D", 18_321, "2020-02-29"),
            ("2D", 1, "1970-01-03"),
            ("h", -1, "1969-12-31T23"),
            ("m", 61, "1970-01-01T01:01"),
            ("s", -1, "1969-12-31T23:59:59"),
            ("ms", -1, "1969-12-31T23:59:59.999"),
            ("us", 1, "1970-01-01T00:00:00.000001"),
            ("ns", 1_582_934_400_000_000_001, "2020-02-29T00:00:00.000000001"),
            ("as", -1, "1969-12-31T23:59:59.999999999999999999"),
            ("s", i64::MAX, "9223372036854775807"),
            ("Y", i64::MAX, "9223372036854775807"),
        ] {
            let (text, _) = said(&format!("<M8[{unit}]"), &i64::to_le_bytes(count));
            assert_eq!(text.trim_matches('"'), expected, "{unit} {count}");
        }
        assert_eq!(said("<M8[D]", &i64::MIN.to_le_bytes()), ("NaT".into(), "null".into()));
    }
}
