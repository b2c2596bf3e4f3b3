//! The rows of a CSV file and their fields.
//!
//! Fields may be quoted; in quotes, delimiters and line ends are text and `""` is a quote. A quote
//! inside an unquoted field is text too. Rows end with `\n`, `\r\n` or `\r`; empty lines are no
//! rows. What other readers guess at is an error here: text behind a closing quote, and a quote
//! that is never closed. Rows stop anywhere when their source has nothing to read, and go on later.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use crate::failure::{Failure, Result};
use crate::{signal, size};

/// Bytes of a row at most. With it and with what a batch is cut at, the text of a column fits the
/// 32-bit offsets of its type.
pub const ROW_BYTES: usize = 1 << 30;

/// Bytes that are read at a time.
const READ: usize = 256 * 1024;

/// Rows, read one after the other.
pub struct Records {
    source: Box<dyn Read + Send>,
    delimiter: u8,
    /// The bytes that end a field without quotes.
    ends: [bool; 256],
    data: Vec<u8>,
    /// Where the bytes end that were read.
    filled: usize,
    /// Where the row begins.
    start: usize,
    /// The next byte to look at.
    at: usize,
    state: State,
    /// Whether the byte before was a `\r`: a `\n` now ends no other line.
    carriage: bool,
    /// The fields of the row.
    fields: Vec<Field>,
    /// Where the text of the field begins, from `start`.
    field: usize,
    doubled: bool,
    /// The line of the next byte.
    line: u64,
    /// The line in which the row begins.
    row_line: u64,
    /// Whether what was read is kept, to be read again.
    keep: bool,
    empty_lines: u64,
    /// Bytes before `data`.
    before: u64,
    source_ended: bool,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between rows.
    Between,
    /// At the first byte of a field.
    First,
    Plain,
    Quoted,
    /// Behind a quote in quotes: the end of the field, or half of a `""`.
    Quote,
}

/// The text of a field is at `start..end` of its row, where quotes may be doubled.
#[derive(Clone, Copy, Debug)]
struct Field {
    start: u32,
    end: u32,
    doubled: bool,
}

/// What reading on came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is a row.
    Row,
    /// The source paused, and waits no longer now: a row may come later.
    Pause,
    /// There are no more rows.
    End,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    text: &'a str,
    fields: &'a [Field],
    /// The line in which it begins; the first is 1.
    pub line: u64,
}

impl<'a> Row<'a> {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Bytes of the row.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The text of each field.
    pub fn fields(self) -> impl Iterator<Item = Cow<'a, str>> {
        self.fields.iter().map(move |field| {
            let text = &self.text[field.start as usize..field.end as usize];
            match field.doubled {
                false => Cow::Borrowed(text),
                true => Cow::Owned(text.replace("\"\"", "\"")),
            }
        })
    }
}

impl Records {
    /// Reads rows from their beginning. An error of the kind `WouldBlock` is a pause.
    pub fn new(source: Box<dyn Read + Send>, delimiter: u8) -> Records {
        let mut ends = [false; 256];
        for byte in [delimiter, b'\n', b'\r'] {
            ends[usize::from(byte)] = true;
        }
        Records {
            source,
            delimiter,
            ends,
            data: Vec::new(),
            filled: 0,
            start: 0,
            at: 0,
            state: State::Between,
            carriage: false,
            fields: Vec::new(),
            field: 0,
            doubled: false,
            line: 1,
            row_line: 1,
            keep: false,
            empty_lines: 0,
            before: 0,
            source_ended: false,
        }
    }

    /// Reads the rows of a block, which begins in this line, and between rows.
    pub fn of_block(mut block: Vec<u8>, delimiter: u8, line: u64) -> Records {
        let filled = block.len();
        // Room for a read, which finds nothing.
        block.push(0);
        Records { data: block, filled, line, row_line: line, ..Records::new(Box::new(std::io::empty()), delimiter) }
    }

    /// The block again.
    pub fn into_block(mut self) -> Vec<u8> {
        self.data.truncate(self.filled);
        self.data
    }

    /// Keeps what is read until [`rewind`](Records::rewind).
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Goes back to the first row. All since must have been kept.
    pub fn rewind(&mut self) {
        debug_assert!(self.keep && self.before == 0);
        self.keep = false;
        self.state = State::Between;
        self.carriage = false;
        (self.start, self.at) = (0, 0);
        (self.line, self.row_line, self.empty_lines) = (1, 1, 0);
    }

    /// Bytes that were read and looked at.
    pub fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    /// Whether the source ended before the row's line did.
    pub fn cut(&self) -> bool {
        self.source_ended && self.at == self.filled && self.row_line == self.line
    }

    /// The line of the next byte.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Lines without anything that were passed over.
    pub fn empty_lines(&self) -> u64 {
        self.empty_lines
    }

    /// Goes on to the next row.
    pub fn next(&mut self) -> Result<Next> {
        loop {
            if self.scan()? {
                return Ok(Next::Row);
            }
            if self.at - self.start > ROW_BYTES && self.state != State::Between {
                return Err(Failure::new(format!(
                    "the row that begins in line {} has more than {}: is a quote never closed?",
                    self.row_line,
                    size::bytes(ROW_BYTES as u64)
                )));
            }
            if self.source_ended {
                return self.last();
            }
            signal::check()?;
            self.make_room();
            match self.source.read(&mut self.data[self.filled..]) {
                Ok(0) => self.source_ended = true,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Pause),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The row that [`next`](Records::next) found.
    pub fn row(&self) -> Result<Row<'_>> {
        let end = self.fields.last().map_or(0, |field| field.end as usize);
        match std::str::from_utf8(&self.data[self.start..self.start + end]) {
            Ok(text) => Ok(Row { text, fields: &self.fields, line: self.row_line }),
            Err(_) => Err(Failure::new(format!(
                "the text in line {} is not UTF-8: convert the file first, as with `iconv -f LATIN1 -t UTF-8`",
                self.row_line
            ))),
        }
    }

    /// Looks at what is there. Whether it ends a row.
    fn scan(&mut self) -> Result<bool> {
        while self.at < self.filled {
            let rest = &self.data[self.at..self.filled];
            let byte = rest[0];
            match self.state {
                State::Between => {
                    let carriage = std::mem::replace(&mut self.carriage, byte == b'\r');
                    match byte {
                        b'\n' if carriage => self.at += 1,
                        b'\n' | b'\r' => {
                            self.at += 1;
                            self.line += 1;
                            self.empty_lines += 1;
                        }
                        _ => {
                            self.start = self.at;
                            self.row_line = self.line;
                            self.fields.clear();
                            self.state = State::First;
                        }
                    }
                }
                State::First => {
                    self.doubled = false;
                    self.field = self.at - self.start;
                    self.state = State::Plain;
                    if byte == b'"' {
                        self.at += 1;
                        self.field += 1;
                        self.state = State::Quoted;
                    }
                }
                State::Plain => match rest.iter().position(|byte| self.ends[usize::from(*byte)]) {
                    None => self.at = self.filled,
                    Some(count) => {
                        let byte = rest[count];
                        self.at += count;
                        let end = self.at - self.start;
                        self.fields.push(Field { start: self.field as u32, end: end as u32, doubled: false });
                        if self.separate(byte) {
                            return Ok(true);
                        }
                    }
                },
                State::Quoted => match rest.iter().position(|byte| matches!(byte, b'"' | b'\n' | b'\r')) {
                    None => {
                        self.at = self.filled;
                        self.carriage = false;
                    }
                    Some(count) => {
                        self.at += count + 1;
                        let carriage = std::mem::replace(&mut self.carriage, rest[count] == b'\r');
                        match rest[count] {
                            b'"' => self.state = State::Quote,
                            b'\n' if carriage && count == 0 => {}
                            _ => self.line += 1,
                        }
                    }
                },
                State::Quote => match byte {
                    b'"' => {
                        self.at += 1;
                        self.doubled = true;
                        self.state = State::Quoted;
                    }
                    _ if self.ends[usize::from(byte)] => {
                        self.quoted_field();
                        if self.separate(byte) {
                            return Ok(true);
                        }
                    }
                    _ => {
                        return Err(Failure::new(format!(
                            "in line {}, text follows the closing quote of field {}: a quote inside quotes is \
                             written twice, and a field begins and ends with its quotes",
                            self.line,
                            self.fields.len() + 1
                        )));
                    }
                },
            }
        }
        Ok(false)
    }

    /// Passes over what ends a field. Whether it ends the row too.
    fn separate(&mut self, byte: u8) -> bool {
        self.at += 1;
        self.carriage = byte == b'\r';
        if byte == self.delimiter {
            self.state = State::First;
            return false;
        }
        self.line += 1;
        self.state = State::Between;
        true
    }

    fn quoted_field(&mut self) {
        let end = self.at - 1 - self.start;
        self.fields.push(Field { start: self.field as u32, end: end as u32, doubled: self.doubled });
    }

    /// The row that the end of the source ends.
    fn last(&mut self) -> Result<Next> {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => return Ok(Next::End),
            // A delimiter ended the file: an empty field is behind it.
            State::First => {
                let end = (self.at - self.start) as u32;
                self.fields.push(Field { start: end, end, doubled: false });
            }
            State::Plain => {
                let end = (self.at - self.start) as u32;
                self.fields.push(Field { start: self.field as u32, end, doubled: false });
            }
            State::Quoted => {
                return Err(Failure::new(format!(
                    "the quote that opens in the row of line {} is never closed: the file is cut, or the quote is \
                     text and its field needs quotes around it",
                    self.row_line
                )));
            }
            State::Quote => self.quoted_field(),
        }
        Ok(Next::Row)
    }

    fn make_room(&mut self) {
        if self.filled < self.data.len() {
            return;
        }
        // Between rows, all before is done with.
        let done = match (self.keep, self.state) {
            (true, _) => 0,
            (false, State::Between) => self.at,
            (false, _) => self.start,
        };
        self.data.copy_within(done..self.filled, 0);
        self.before += done as u64;
        self.filled -= done;
        self.at -= done;
        self.start = self.start.saturating_sub(done);
        if self.filled + READ / 2 > self.data.len() {
            self.data.resize((self.data.len() * 2).max(READ), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Records};
    use std::io::Read;

    /// Gives so many bytes at a time, with a pause before each.
    struct Slow<'a>(&'a [u8], usize, bool);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            let count = self.1.min(buffer.len());
            self.0.take(count as u64).read(buffer).inspect(|count| self.0 = &self.0[*count..])
        }
    }

    type Rows = Vec<(u64, Vec<String>)>;

    fn rows_of(mut records: Records) -> Result<Rows, String> {
        let mut rows = Vec::new();
        loop {
            match records.next().map_err(|failure| format!("{failure:?}"))? {
                Next::Row => {
                    let row = records.row().map_err(|failure| format!("{failure:?}"))?;
                    rows.push((row.line, row.fields().map(String::from).collect()));
                }
                Next::Pause => {}
                Next::End => return Ok(rows),
            }
        }
    }

    /// The rows, which are the same however they come.
    fn rows(text: &'static [u8]) -> Result<Rows, String> {
        let whole = rows_of(Records::new(Box::new(text), b','));
        for step in 1..4 {
            let mut records = Records::new(Box::new(Slow(text, step, false)), b',');
            assert_eq!(rows_of(records), whole, "{step}");
            records = Records::new(Box::new(Slow(text, step, false)), b',');
            records.keep();
            while !matches!(records.next(), Ok(Next::End) | Err(_)) {}
            if whole.is_ok() {
                records.rewind();
                assert_eq!(rows_of(records), whole, "{step}");
            }
        }
        whole
    }

    #[test]
    fn rows_and_their_lines_are_the_same_in_all_pieces() {
        let found = rows(b"a,b\r\n1,\"x,\"\"y\"\"\r\nz\"\n\n\n2,\r3,\"\"\r\n\r\n\"q\",4\"5\"").unwrap();
        let expected = [
            (1, vec!["a", "b"]),
            (2, vec!["1", "x,\"y\"\r\nz"]),
            (6, vec!["2", ""]),
            (7, vec!["3", ""]),
            (9, vec!["q", "4\"5\""]),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, (line, fields)) in found.iter().zip(expected) {
            assert_eq!((found.0, &found.1), (line, &fields.into_iter().map(String::from).collect()));
        }
        assert_eq!(rows(b"").unwrap(), []);
        assert_eq!(rows(b"\n\r\n").unwrap(), []);
        for text in [&b"a,"[..], b"a,\n", b"a,\"\"", b"\"a\",\"\"\r"] {
            assert_eq!(rows(text).unwrap(), [(1, vec!["a".to_owned(), String::new()])]);
        }
    }

    #[test]
    fn quotes_that_do_not_fit_are_refused_with_their_line() {
        let error = |text| rows(text).unwrap_err();
        assert!(error(b"a\n\"b\nc\"d\n").contains("in line 3, text follows the closing quote of field 1"));
        assert!(error(b"a,b\n1,\"x\" ,2\n").contains("in line 2"));
        assert!(error(b"a\n1\n\"b\nc\n").contains("row of line 3 is never closed"));
        assert!(error(b"a\n\"b\"\"").contains("never closed"));
        assert!(error(b"a\n1\n\"\n\n\xff\"\n").contains("line 3 is not UTF-8"));
    }
}
