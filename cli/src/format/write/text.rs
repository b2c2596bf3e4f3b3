//! Dates, times, timestamps and durations as text. What is beyond the calendar that can be printed
//! is its raw number instead, with a note; an error text is never a value.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::as_datetime;
use arrow_array::timezone::Tz;
use arrow_array::types::{
    ArrowTimestampType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, PrimitiveArray};
use arrow_cast::display::{ArrayFormatter, ArrayFormatterFactory, DisplayIndex, FormatOptions, FormatResult};
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};
use chrono::{DateTime, FixedOffset, NaiveDateTime, Offset, SecondsFormat, TimeZone};

use crate::failure::note_once;

/// The values of a column of any type, as text.
pub struct Column<'a> {
    array: &'a dyn Array,
    null: &'a str,
    printer: Printer<'a>,
}

/// Arrow's formatter asks its factory for what is in a list or struct, and not for the value itself,
/// nor for the values of a dictionary.
enum Printer<'a> {
    Temporal(Temporal<'a>),
    Dictionary { keys: Vec<usize>, values: Box<Column<'a>> },
    Other(ArrayFormatter<'a>),
}

impl<'a> Column<'a> {
    /// Prints the column with `null` where there is no value, and never an error text.
    pub fn new(array: &'a dyn Array, null: &'a str) -> Result<Column<'a>, ArrowError> {
        let options =
            FormatOptions::default().with_display_error(false).with_null(null).with_formatter_factory(Some(&Calendar));
        let printer = match Printer::ours(array, null)? {
            Some(ours) => ours,
            None => Printer::Other(ArrayFormatter::try_new(array, &options)?),
        };
        Ok(Column { array, null, printer })
    }

    /// The value of a row.
    pub fn text(&self, row: usize) -> Result<String, ArrowError> {
        let mut text = String::new();
        match &self.printer {
            Printer::Other(formatter) => formatter.value(row).write(&mut text)?,
            _ if self.array.is_null(row) => text.push_str(self.null),
            Printer::Dictionary { keys, values } => return values.text(keys[row]),
            Printer::Temporal(temporal) => {
                temporal.write(row, &mut text);
            }
        }
        // Arrow writes the zeros of a negative scale behind any number, and behind 0 too.
        if is_scaled_up(self.array.data_type()) && text.starts_with('0') {
            text.truncate(1);
        }
        Ok(text)
    }
}

impl<'a> Printer<'a> {
    /// The printer of what arrow does not print as we want it.
    fn ours(array: &'a dyn Array, null: &'a str) -> Result<Option<Printer<'a>>, ArrowError> {
        if let Some(dictionary) = array.as_any_dictionary_opt().filter(|dictionary| !dictionary.values().is_empty()) {
            let values = Box::new(Column::new(dictionary.values().as_ref(), null)?);
            return Ok(Some(Printer::Dictionary { keys: dictionary.normalized_keys(), values }));
        }
        Ok(Temporal::of(array)?.map(Printer::Temporal))
    }
}

/// Whether these are decimals that count hundreds, or thousands, and so on.
pub fn is_scaled_up(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale < 0,
        DataType::Dictionary(_, values) => is_scaled_up(values),
        DataType::RunEndEncoded(_, values) => is_scaled_up(values.data_type()),
        _ => false,
    }
}

/// How a value became text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// As a date, time or duration.
    Text,
    /// As a number, because the calendar does not reach it.
    Number,
}

/// The values of a column of dates, times, timestamps or durations.
pub struct Temporal<'a> {
    array: &'a dyn Array,
    how: How<'a>,
}

enum How<'a> {
    Timestamp(Zone),
    Other(ArrayFormatter<'a>),
}

/// What is said of the zone of timestamps.
#[derive(Clone, Copy)]
enum Zone {
    Unsaid,
    /// One that is not known here, or UTC itself.
    Utc,
    Known(Tz),
}

impl<'a> Temporal<'a> {
    /// The column's values; `None` if it is of another type.
    pub fn of(array: &'a dyn Array) -> Result<Option<Temporal<'a>>, ArrowError> {
        let how = match array.data_type() {
            DataType::Timestamp(_, zone) => How::Timestamp(zone.as_deref().map_or(Zone::Unsaid, zone_or_utc)),
            DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) => {
                How::Other(ArrayFormatter::try_new(array, &FormatOptions::default())?)
            }
            _ => return Ok(None),
        };
        Ok(Some(Temporal { array, how }))
    }

    /// Appends the value at `index`, which is not null, to a text.
    pub fn write(&self, index: usize, to: &mut String) -> Printed {
        let start = to.len();
        let done = match &self.how {
            How::Timestamp(zone) => write_timestamp(self.datetime(index), *zone, to),
            // A duration that does not fit is printed as `<invalid>`, and is no error.
            How::Other(formatter) => formatter.value(index).write(to).is_ok() && !to[start..].contains('<'),
        };
        if done {
            return Printed::Text;
        }
        to.truncate(start);
        let (number, unit) = self.number(index);
        note_once(format_args!(
            "values of type {} that are beyond what can be printed are written as numbers, which count {unit}",
            self.array.data_type()
        ));
        to.push_str(&number.to_string());
        Printed::Number
    }

    fn datetime(&self, index: usize) -> Option<NaiveDateTime> {
        fn of<T: ArrowTimestampType>(array: &dyn Array, index: usize) -> Option<NaiveDateTime> {
            let array: &PrimitiveArray<T> = array.as_primitive();
            as_datetime::<T>(array.value(index))
        }
        match self.array.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => of::<TimestampSecondType>(self.array, index),
            DataType::Timestamp(TimeUnit::Millisecond, _) => of::<TimestampMillisecondType>(self.array, index),
            DataType::Timestamp(TimeUnit::Microsecond, _) => of::<TimestampMicrosecondType>(self.array, index),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => of::<TimestampNanosecondType>(self.array, index),
            _ => None,
        }
    }

    /// The raw number, and what it counts.
    fn number(&self, index: usize) -> (i64, String) {
        let data = self.array.to_data();
        let number = match self.array.data_type() {
            DataType::Date32 | DataType::Time32(_) => i64::from(data.buffer::<i32>(0)[index]),
            _ => data.buffer::<i64>(0)[index],
        };
        let unit = |unit: &TimeUnit| match unit {
            TimeUnit::Second => "seconds",
            TimeUnit::Millisecond => "milliseconds",
            TimeUnit::Microsecond => "microseconds",
            TimeUnit::Nanosecond => "nanoseconds",
        };
        let what = match self.array.data_type() {
            DataType::Date32 => "days since 1970-01-01".to_owned(),
            DataType::Date64 => "milliseconds since 1970-01-01".to_owned(),
            DataType::Timestamp(of, _) => format!("{} since 1970-01-01", unit(of)),
            DataType::Time32(of) | DataType::Time64(of) => format!("{} since midnight", unit(of)),
            DataType::Duration(of) => unit(of).to_owned(),
            other => other.to_string(),
        };
        (number, what)
    }
}

/// Whether it could be written.
fn write_timestamp(utc: Option<NaiveDateTime>, zone: Zone, to: &mut String) -> bool {
    let Some(utc) = utc else { return false };
    let mut offset = match zone {
        Zone::Unsaid => return write!(to, "{utc:?}").is_ok(),
        Zone::Utc => chrono::Utc.fix(),
        Zone::Known(zone) => zone.offset_from_utc_datetime(&utc).fix(),
    };
    if offset.local_minus_utc() % 60 != 0 {
        // A local mean time of long ago. The text has no seconds of the offset, and would say
        // another instant.
        offset = chrono::Utc.fix();
    }
    if utc.checked_add_offset(offset).is_none() {
        return false;
    }
    let local = DateTime::<FixedOffset>::from_naive_utc_and_offset(utc, offset);
    to.push_str(&local.to_rfc3339_opts(SecondsFormat::AutoSi, true));
    true
}

/// The zone of this name; UTC, with a note, if there is none.
fn zone_or_utc(name: &str) -> Zone {
    name.parse().map_or_else(
        |_| {
            note_once(format_args!("the time zone `{name}` is not known here: its times are printed in UTC"));
            Zone::Utc
        },
        Zone::Known,
    )
}

/// Makes arrow's formatter print dates and times so, at any depth.
#[derive(Debug)]
struct Calendar;

impl ArrayFormatterFactory for Calendar {
    fn create_array_formatter<'f>(
        &self,
        array: &'f dyn Array,
        options: &FormatOptions<'f>,
        _: Option<&'f Field>,
    ) -> Result<Option<ArrayFormatter<'f>>, ArrowError> {
        let null = options.null();
        let ours = Printer::ours(array, null)?;
        Ok(ours.map(|printer| ArrayFormatter::new(Box::new(Column { array, null, printer }), false)))
    }
}

impl DisplayIndex for Column<'_> {
    fn write(&self, index: usize, to: &mut dyn Write) -> FormatResult {
        Ok(to.write_str(&self.text(index)?)?)
    }
}
