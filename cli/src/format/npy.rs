//! .npy files and arrays whose element type is known only when the file is read.

use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use faretra::{Array, Drafted, Element, ElementType, Object, Writer};
use half::f16;
use indicatif::ProgressBar;
use ndarray::{ArrayViewD, IxDyn, ShapeBuilder};
use ndarray_npy::npy::header::{Header, Layout};
use num_complex::Complex;
use py_literal::Value as PyValue;

use super::tables::Counted;
use crate::failure::{Failure, Result};
use crate::signal;

/// Runs a block with a type standing for an element type.
macro_rules! with_element {
    ($element:expr, $T:ident => $body:expr) => {
        match $element {
            ElementType::U8 => with_element!(@ u8, $T, $body),
            ElementType::U16 => with_element!(@ u16, $T, $body),
            ElementType::U32 => with_element!(@ u32, $T, $body),
            ElementType::U64 => with_element!(@ u64, $T, $body),
            ElementType::U128 => with_element!(@ u128, $T, $body),
            ElementType::I8 => with_element!(@ i8, $T, $body),
            ElementType::I16 => with_element!(@ i16, $T, $body),
            ElementType::I32 => with_element!(@ i32, $T, $body),
            ElementType::I64 => with_element!(@ i64, $T, $body),
            ElementType::I128 => with_element!(@ i128, $T, $body),
            ElementType::F16 => with_element!(@ f16, $T, $body),
            ElementType::F32 => with_element!(@ f32, $T, $body),
            ElementType::F64 => with_element!(@ f64, $T, $body),
            ElementType::Bool => with_element!(@ bool, $T, $body),
            ElementType::Complex64 => with_element!(@ Complex<f32>, $T, $body),
            ElementType::Complex128 => with_element!(@ Complex<f64>, $T, $body),
            other => Err(Failure::new(format!(
                "this version of the command does not know elements of type {other}"
            ))),
        }
    };
    (@ $type:ty, $T:ident, $body:expr) => {{
        type $T = $type;
        $body
    }};
}

/// Bytes of a number: half of a complex element.
fn number_size(element: ElementType) -> usize {
    match element {
        ElementType::Complex64 | ElementType::Complex128 => element.size() / 2,
        _ => element.size(),
    }
}

/// A file with its header read.
#[derive(Debug)]
pub struct NpyFile {
    file: File,
    element: ElementType,
    big_endian: bool,
    fortran: bool,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Bytes of the elements.
    pub bytes: u64,
}

/// Bytes of a header at most: numpy's own limit, beyond which it must be told to trust a file.
const HEADER: u64 = 10_000;

/// Brackets within brackets in a header, at most. A shape is two deep, a record with shapes in it four. The time that
/// the header's parser takes grows exponentially with them.
const BRACKETS: u32 = 6;

/// Bytes of a file's header, and fails if they cannot be one.
fn header_bytes(file: &mut File) -> Result<Vec<u8>> {
    let foreign = |why: &str| Failure::new(format!("it is not a .npy file ({why})"));
    let mut bytes = Vec::new();
    file.take(12).read_to_end(&mut bytes)?;
    let (front, length) = match *bytes.as_slice() {
        [] => return Err(foreign("it is empty")),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0, a, b, ..] => (10, u64::from(u16::from_le_bytes([a, b]))),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, 0, a, b, c, d] => (12, u64::from(u32::from_le_bytes([a, b, c, d]))),
        [0x93, b'N', b'U', b'M', b'P', b'Y', major, minor, ..] => {
            return Err(foreign(&format!("its version {major}.{minor} is not known, or it is cut")));
        }
        _ => return Err(foreign("it does not begin with \\x93NUMPY")),
    };
    if length > HEADER {
        return Err(Failure::new(format!("its header has {length} bytes, more than the {HEADER} that are read")));
    }
    let whole = front + length;
    file.take(whole.saturating_sub(bytes.len() as u64)).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < whole {
        return Err(foreign("it ends within its header"));
    }
    bytes.truncate(usize::try_from(whole).unwrap_or(bytes.len()));
    file.seek(SeekFrom::Start(whole))?;
    let (mut depth, mut quote) = (0u32, None);
    let mut text = bytes[front as usize..].iter();
    while let Some(&byte) = text.next() {
        match (byte, quote) {
            (b'\\', Some(_)) => drop(text.next()),
            (byte, Some(mark)) if byte == mark => quote = None,
            (b'\'' | b'"', None) => quote = Some(byte),
            (b'(' | b'[' | b'{', None) => depth += 1,
            (b')' | b']' | b'}', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > BRACKETS {
            return Err(Failure::new(format!(
                "its header has brackets more than {BRACKETS} deep, which no array of numbers needs"
            )));
        }
    }
    Ok(bytes)
}

/// Reads the header and checks that the file is as long as it says.
pub fn open(mut file: File) -> Result<NpyFile> {
    let header = header_bytes(&mut file)?;
    let start = header.len() as u64;
    let header = Header::from_reader(&mut header.as_slice())
        .map_err(|error| Failure::new(format!("it is not a .npy file ({error})")))?;
    let descriptor = match &header.type_descriptor {
        PyValue::String(text) => text.as_str(),
        _ => {
            return Err(Failure::new(
                "its elements are records, not numbers: save each field as an array of its own, \
                 or write the records as Parquet",
            ));
        }
    };
    let (order, code) = descriptor.split_at_checked(1).unwrap_or(("", descriptor));
    // The 128-bit integers, which numpy does not have, are no `i16` of it but `V16`.
    let known = ElementType::ALL.iter().find(|element| {
        let descr = element.numpy_descr();
        !descr.ends_with("V16") && descr.get(1..) == Some(code)
    });
    let (Some(&element), "<" | ">" | "|" | "=") = (known, order) else {
        return Err(Failure::new(format!(
            "its elements are `{descriptor}`, which an array cannot hold: \
             convert it to bool, an integer, a float or a complex type first"
        )));
    };
    let bytes = header
        .shape
        .iter()
        .try_fold(element.size() as u64, |product, &length| product.checked_mul(u64::try_from(length).ok()?));
    let there = file.metadata()?.len().saturating_sub(start);
    match bytes {
        Some(bytes) if bytes == there => Ok(NpyFile {
            file,
            element,
            big_endian: order == ">",
            fortran: header.layout == Layout::Fortran,
            shape: header.shape,
            bytes,
        }),
        _ => Err(Failure::new(format!(
            "its header says {element} of shape {:?}, {} bytes, but {there} bytes follow: \
             the file is cut or holds more than one array",
            header.shape,
            bytes.map_or("more than can be".to_owned(), |bytes| bytes.to_string())
        ))),
    }
}

impl NpyFile {
    /// Makes a draft of the array: its elements go from the file straight into the arena.
    pub fn draft(self, writer: &Writer, bar: &ProgressBar) -> Result<Drafted> {
        with_element!(self.element, T => self.draft_as::<T>(writer, bar))
    }

    fn draft_as<T: Element>(self, writer: &Writer, bar: &ProgressBar) -> Result<Drafted> {
        let shape = IxDyn(&self.shape).set_f(self.fortran);
        let mut draft = writer.draft_array::<T, IxDyn>(shape)?;
        let mut view = draft.view_mut()?;
        let elements =
            view.as_slice_memory_order_mut().ok_or_else(|| Failure::new("the draft of the array is not contiguous"))?;
        bar.set_length(self.bytes);
        let mut source = Counted::new(self.file, bar);
        fill(elements, &mut source, number_size(self.element), self.big_endian)?;
        Ok(writer.prepare(draft)?)
    }
}

fn fill<T: Element>(elements: &mut [T], source: &mut impl Read, number: usize, big_endian: bool) -> Result<()> {
    let size = size_of::<T>();
    let mut buffer = vec![0; 64 * 1024 * size];
    for elements in elements.chunks_mut(64 * 1024) {
        let bytes = &mut buffer[..size_of_val(elements)];
        source.read_exact(bytes)?;
        if big_endian {
            bytes.chunks_exact_mut(number).for_each(<[u8]>::reverse);
        }
        for (element, bytes) in elements.iter_mut().zip(bytes.chunks_exact(size)) {
            *element = bytemuck::checked::try_pod_read_unaligned(bytes)
                .map_err(|_| Failure::new(format!("a bool in it is {}, not 0 or 1", bytes[0])))?;
        }
    }
    Ok(())
}

/// Writes an array object as .npy.
pub fn write(object: Object, to: impl Write) -> Result<()> {
    let element = object.array_info()?.element;
    with_element!(element, T => write_as::<T>(object, element, to))
}

fn write_as<T: Element>(object: Object, element: ElementType, mut to: impl Write) -> Result<()> {
    if element.numpy_descr().ends_with("V16") {
        return Err(Failure::new(format!("numpy has no element type {element}: .npy cannot hold this array")));
    }
    let array: Array<T, IxDyn> = object.try_into()?;
    let view = array.view();
    let fortran = !view.is_standard_layout();
    let Some(elements) = view.as_slice_memory_order() else {
        return Err(Failure::new("the array is not contiguous in memory"));
    };
    let header = Header {
        type_descriptor: PyValue::String(element.numpy_descr().to_owned()),
        layout: if fortran { Layout::Fortran } else { Layout::Standard },
        shape: view.shape().to_vec(),
    };
    let failed = |error| Failure::new(format!("cannot make the header: {error}"));
    to.write_all(&header.to_bytes().map_err(failed)?)?;
    for bytes in bytemuck::cast_slice::<T, u8>(elements).chunks(4 << 20) {
        signal::check()?;
        to.write_all(bytes)?;
    }
    to.flush()?;
    Ok(())
}

/// An element as people and JSON read it.
pub trait Shown: Element + Display {
    /// As JSON; what JSON has no number for is null.
    fn json(self) -> String;
}

macro_rules! shown {
    ($($type:ty),* => $value:ident => $json:expr) => {
        $(impl Shown for $type {
            fn json(self) -> String {
                let $value = self;
                $json
            }
        })*
    };
}

fn float(text: String, finite: bool) -> String {
    if finite { text } else { "null".to_owned() }
}

shown!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, bool => value => value.to_string());
shown!(f16, f32, f64 => value => float(value.to_string(), value.is_finite()));
shown!(Complex<f32>, Complex<f64> => value => format!("[{},{}]", value.re.json(), value.im.json()));

/// How `cat` prints an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// ndarray's own way, shortened in the middle.
    Text,
    /// Rows of values; of rank 1 and 2 only.
    Csv,
    /// Nested lists.
    Json,
}

/// Prints an array object, or the first `head` items of its first axis.
pub fn print(object: Object, style: Style, head: Option<usize>, out: &mut impl Write) -> Result<()> {
    let element = object.array_info()?.element;
    with_element!(element, T => {
        let array: Array<T, IxDyn> = object.try_into()?;
        let mut view = array.view();
        if let Some(head) = head && view.ndim() > 0 && head < view.shape()[0] {
            view.slice_axis_inplace(ndarray::Axis(0), (0..head).into());
        }
        print_view(view, element, array.shape(), style, out)
    })
}

fn print_view<T: Shown>(
    view: ArrayViewD<'_, T>,
    element: ElementType,
    shape: &[usize],
    style: Style,
    out: &mut impl Write,
) -> Result<()> {
    match style {
        Style::Text => {
            writeln!(out, "{view}")?;
            writeln!(out, "{element} array of shape {shape:?}")?;
        }
        Style::Json => {
            nested(view, out)?;
            writeln!(out)?;
        }
        Style::Csv if view.ndim() > 2 => {
            return Err(Failure::new(format!(
                "CSV has rows and columns, the array has {} axes: use --format json or export \
                 it to .npy",
                view.ndim()
            )));
        }
        Style::Csv if view.ndim() < 2 => {
            for value in &view {
                writeln!(out, "{value}")?;
            }
        }
        Style::Csv => {
            for row in view.outer_iter() {
                for (i, value) in row.iter().enumerate() {
                    write!(out, "{}{value}", if i > 0 { "," } else { "" })?;
                }
                writeln!(out)?;
            }
        }
    }
    Ok(())
}

fn nested<T: Shown>(view: ArrayViewD<'_, T>, out: &mut impl Write) -> Result<()> {
    if view.ndim() == 0 {
        for value in &view {
            write!(out, "{}", value.json())?;
        }
        return Ok(());
    }
    write!(out, "[")?;
    for (i, item) in view.outer_iter().enumerate() {
        if i > 0 {
            write!(out, ",")?;
        }
        nested(item, out)?;
    }
    write!(out, "]")?;
    Ok(())
}
