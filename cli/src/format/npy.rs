//! .npy files: arrays of every type that numpy has and that is plain memory.
//!
//! The bytes of the elements go into the arena, and out of it, as they are: records, text, times and numbers in the other
//! order of bytes come out of an export as they went in.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use faretra::{DType, Drafted, MAX_DTYPE_TEXT, Object, Order, Writer};
use indicatif::ProgressBar;

use super::tables::Counted;
use crate::failure::{Failure, Result};
use crate::signal;

/// A file with its header read.
#[derive(Debug)]
pub struct NpyFile {
    file: File,
    dtype: DType,
    order: Order,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Bytes of the elements.
    pub bytes: u64,
}

/// Bytes of a header at most: those of an element type, and some more.
const HEADER: u64 = MAX_DTYPE_TEXT as u64 + 1024;

const MAGIC: &[u8] = b"\x93NUMPY";

fn foreign(why: &str) -> Failure {
    Failure::new(format!("it is not a .npy file ({why})"))
}

/// The text of a file's header, behind which the elements begin.
fn header(file: &mut File) -> Result<String> {
    let mut start = Vec::new();
    file.take(12).read_to_end(&mut start)?;
    let (version, front, length) = match *start.as_slice() {
        [] => return Err(foreign("it is empty")),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0, a, b, ..] => (1, 10, u64::from(u16::from_le_bytes([a, b]))),
        [0x93, b'N', b'U', b'M', b'P', b'Y', version @ (2 | 3), 0, a, b, c, d] => {
            (version, 12, u64::from(u32::from_le_bytes([a, b, c, d])))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', major, minor, ..] => {
            return Err(foreign(&format!("its version {major}.{minor} is not known, or it is cut")));
        }
        _ => return Err(foreign("it does not begin with \\x93NUMPY")),
    };
    if length > HEADER {
        return Err(Failure::new(format!("its header has {length} bytes, more than the {HEADER} that are read")));
    }
    file.seek(SeekFrom::Start(front))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return Err(foreign("it ends within its header"));
    }
    // Before version 3, a byte is a character of Latin-1.
    if version < 3 {
        return Ok(bytes.into_iter().map(char::from).collect());
    }
    String::from_utf8(bytes).map_err(|_| foreign("its header is not UTF-8"))
}

/// The keys of a Python dict, in their quotes, and the text of their values.
fn entries(text: &str) -> Option<Vec<(&str, &str)>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (mut all, mut key, mut start) = (vec![], None, 0);
    let (mut depth, mut quote, mut escaped) = (0_u32, None, false);
    for (at, c) in inside.char_indices() {
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', Some(_)) => escaped = true,
            (c, Some(mark)) if c == mark => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(c),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) => depth = depth.checked_sub(1)?,
            (':', None) if depth == 0 && key.is_none() => {
                key = Some(inside[start..at].trim());
                start = at + 1;
            }
            (',', None) if depth == 0 => {
                all.push((key.take()?, inside[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    match (key, inside[start..].trim()) {
        (Some(key), value) => all.push((key, value)),
        (None, "") => {}
        (None, _) => return None,
    }
    (depth == 0 && quote.is_none()).then_some(all)
}

/// A tuple of lengths. (Python 2 wrote an `L` behind long numbers.)
fn shape(text: &str) -> Option<Vec<usize>> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?.trim();
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    if inside.trim().is_empty() {
        return Some(vec![]);
    }
    inside.split(',').map(|length| length.trim().trim_end_matches('L').parse().ok()).collect()
}

/// Reads the header and checks that the file is as long as it says.
pub fn open(mut file: File) -> Result<NpyFile> {
    let text = header(&mut file)?;
    let start = file.stream_position()?;
    let entries = entries(&text).ok_or_else(|| foreign("its header is no Python dict"))?;
    let value = |key: &str| {
        let found = entries.iter().find(|(found, _)| found.trim_matches(['\'', '"']) == key);
        found.map(|(_, value)| *value).ok_or_else(|| foreign(&format!("its header has no `{key}`")))
    };
    let order = match value("fortran_order")? {
        "True" => Order::Fortran,
        "False" => Order::C,
        other => return Err(foreign(&format!("its `fortran_order` is {other}"))),
    };
    let shape_text = value("shape")?;
    let shape = shape(shape_text).ok_or_else(|| foreign(&format!("its `shape` is {shape_text}")))?;
    let descr = value("descr")?;
    let dtype: DType =
        descr.parse().map_err(|error| Failure::new(format!("its elements cannot be an array's: {error}")))?;
    let bytes = shape.iter().try_fold(dtype.itemsize() as u64, |product, &length| product.checked_mul(length as u64));
    let there = file.metadata()?.len().saturating_sub(start);
    match bytes {
        Some(bytes) if bytes == there => Ok(NpyFile { file, dtype, order, shape, bytes }),
        _ => Err(Failure::new(format!(
            "its header says {dtype} of shape {shape:?}, {} bytes, but {there} bytes follow: \
             the file is cut or holds more than one array",
            bytes.map_or("more than can be".to_owned(), |bytes| bytes.to_string())
        ))),
    }
}

impl NpyFile {
    /// Makes a draft of the array: its elements go from the file straight into the arena.
    pub fn draft(self, writer: &Writer, bar: &ProgressBar) -> Result<Drafted> {
        let mut draft = writer.draft_dyn_array(self.dtype, &self.shape, self.order)?;
        bar.set_length(self.bytes);
        let mut source = Counted::new(self.file, bar);
        for piece in draft.bytes_mut()?.chunks_mut(4 << 20) {
            source.read_exact(piece)?;
        }
        Ok(writer.prepare(draft)?)
    }
}

/// Digits that the axis an array grows along may have some day: numpy leaves room for as many.
const GROWTH: usize = 21;

/// The header that numpy writes, byte for byte.
fn header_of(dtype: &DType, shape: &[usize], order: Order) -> Vec<u8> {
    // An array that is in both orders is in C order.
    let fortran = order == Order::Fortran && !shape.contains(&0) && shape.iter().filter(|&&n| n > 1).count() > 1;
    let tuple = match shape {
        [n] => format!("({n},)"),
        _ => format!("({})", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    let order = if fortran { "True" } else { "False" };
    let mut text = format!("{{'descr': {}, 'fortran_order': {order}, 'shape': {tuple}, }}", dtype.descr());
    let grows = if fortran { shape.last() } else { shape.first() };
    if let Some(length) = grows {
        text.push_str(&" ".repeat(GROWTH.saturating_sub(length.to_string().len())));
    }
    let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    let (bytes, is_latin) = latin.map_or_else(|| (text.into_bytes(), false), |bytes| (bytes, true));
    // Spaces and a line break up to a multiple of 64.
    let padded = |front: usize| (front + bytes.len() + 1).next_multiple_of(64) - front;
    let mut out = MAGIC.to_vec();
    match u16::try_from(padded(10)) {
        Ok(length) if is_latin => {
            out.extend([1, 0]);
            out.extend(length.to_le_bytes());
        }
        _ => {
            out.extend([if is_latin { 2 } else { 3 }, 0]);
            out.extend((padded(12) as u32).to_le_bytes());
        }
    }
    out.extend(&bytes);
    out.resize((out.len() + 1).next_multiple_of(64) - 1, b' ');
    out.push(b'\n');
    out
}

/// Writes an array object as .npy.
pub fn write(object: Object, mut to: impl Write) -> Result<()> {
    let array = object.dyn_array()?;
    let dtype = array.dtype();
    if !dtype.is_known_to_numpy() {
        return Err(Failure::new(format!("numpy has no element type {dtype}: .npy cannot hold this array")));
    }
    if !dtype.is_sequential() {
        return Err(Failure::new(
            "the fields of its records overlap or lie out of order, which .npy cannot say: copy the fields to records of \
             their own first",
        ));
    }
    to.write_all(&header_of(dtype, array.shape(), array.order()))?;
    for bytes in array.bytes().chunks(4 << 20) {
        signal::check()?;
        to.write_all(bytes)?;
    }
    to.flush()?;
    Ok(())
}
