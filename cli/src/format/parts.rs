//! The rows of a CSV file as columns, block by block, on as many threads as there are processors.
//!
//! What a thread makes of a block does not depend on other blocks: but for the number of the line in which it begins,
//! which errors tell. So a block in which something is wrong is read once more when those before it have been, by
//! [`Parts::next`], which knows the line.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ArrayRef;
use arrow_schema::DataType;

use super::blocks::{BLOCK, Block, Blocks};
use super::columns::{Added, Columns, Known, Purpose};
use super::infer::Seen;
use super::records::{Next, Records};
use crate::failure::{Failure, Result};
use crate::several::{InOrder, threads};
use crate::signal;

/// Blocks that are read ahead for each thread: more than are read while a batch is stored.
const AHEAD: u64 = 24;

/// How blocks become columns.
#[derive(Clone)]
pub struct Plan {
    /// What is known of each column.
    pub known: Vec<Known>,
    /// The type that each becomes.
    pub kinds: Vec<DataType>,
    /// What is done with the values.
    pub purpose: Purpose,
    /// What stands for no value.
    pub nulls: Arc<[String]>,
    /// Between fields.
    pub delimiter: u8,
    /// Whether the first row is that of the names.
    pub header: bool,
}

/// The rows of a block.
#[derive(Default)]
pub struct Part {
    /// The columns that become values.
    pub columns: Vec<ArrayRef>,
    /// About how many bytes the rows up to each one take.
    pub weights: Vec<u64>,
    /// What was seen of each column, and known before.
    pub seen: Vec<Seen>,
    /// Lines without anything.
    pub empty_lines: u64,
    /// Line ends.
    lines: u64,
    /// What is wrong with the row behind these.
    pub failed: Option<Failure>,
    /// Whether a value is not of the type that was guessed.
    pub misguessed: bool,
}

impl Part {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.weights.len()
    }
}

/// The parts of a file, one after the other.
pub struct Parts {
    made: InOrder<Result<(Part, Option<Block>)>>,
    plan: Arc<Plan>,
    line: u64,
    first: bool,
}

impl Parts {
    /// Reads the rows of `source`, which begins with the first.
    pub fn new(source: impl Read + Send + 'static, plan: Plan) -> Parts {
        Parts::of_size(source, plan, BLOCK)
    }

    fn of_size(source: impl Read + Send + 'static, plan: Plan, size: usize) -> Parts {
        let plan = Arc::new(plan);
        let blocks = Blocks::new(source, plan.delimiter, size);
        let mut blocks = blocks.enumerate().peekable();
        // What one block holds is no work for threads.
        let alone = blocks.peek().is_none_or(|(_, block)| block.as_ref().map_or(true, |block| block.last));
        let threads = if alone { 0 } else { threads() };
        let idle: Mutex<Vec<Columns>> = Mutex::new(Vec::new());
        let shared = Arc::clone(&plan);
        let work = move |(number, block): (usize, std::io::Result<Block>)| {
            let block = block?;
            let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let used = lock().pop();
            let mut columns = used.unwrap_or_else(|| shared.columns());
            let header = shared.header && number == 0;
            let (part, bytes) = shared.read(&mut columns, block, 1, header);
            lock().push(columns);
            Ok((part, bytes))
        };
        let made = InOrder::new(blocks, threads, AHEAD * threads.max(1) as u64, work);
        Parts { made, plan, line: 1, first: true }
    }

    /// The next part. Behind one that failed there are none.
    pub fn next(&mut self) -> Result<Option<Part>> {
        signal::check()?;
        let Some(made) = self.made.next() else { return Ok(None) };
        let (mut part, failed) = made?;
        let header = self.plan.header && std::mem::take(&mut self.first);
        if let Some(block) = failed {
            part.failed = self.plan.read(&mut self.plan.columns(), block, self.line, header).0.failed;
        }
        self.line += part.lines;
        Ok(Some(part))
    }
}

impl Plan {
    fn columns(&self) -> Columns {
        Columns::new(&self.known, &self.kinds, self.purpose, &self.nulls)
    }

    /// Reads the rows of a block that begins in this line. Returns the block too if something is wrong with it.
    fn read(&self, columns: &mut Columns, block: Block, line: u64, header: bool) -> (Part, Option<Block>) {
        let last = block.last;
        let mut records = Records::of_block(block.bytes, self.delimiter, line);
        let mut part = Part { weights: Vec::with_capacity(BLOCK / 64), ..Part::default() };
        let (mut header, mut weight) = (header, 0);
        part.failed = loop {
            match records.next() {
                Ok(Next::Row) if std::mem::take(&mut header) => {}
                Ok(Next::Row) => match columns.add(&records) {
                    Ok(Added::Row(bytes)) => {
                        weight += bytes;
                        part.weights.push(weight);
                    }
                    Ok(Added::Misguessed) => {
                        part.misguessed = true;
                        break None;
                    }
                    Err(failure) => break Some(failure),
                },
                Ok(Next::Pause | Next::End) => break None,
                Err(failure) => break Some(failure),
            }
        };
        part.misguessed |= !columns.guessed_right();
        part.columns = columns.finish(part.weights.len());
        part.seen = columns.seen();
        part.empty_lines = records.empty_lines();
        part.lines = records.line() - line;
        let failed = part.failed.is_some().then(|| Block { bytes: records.into_block(), last });
        (part, failed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_schema::DataType;

    use super::super::columns::{Known, Purpose};
    use super::super::infer::Seen;
    use super::super::records::{Next, Records};
    use super::{Parts, Plan};

    /// The rows of two columns, and what is said behind them.
    type Rows = (Vec<[String; 2]>, Option<String>);

    fn one_by_one(text: &[u8]) -> Rows {
        let mut records = Records::new(Box::new(Cursor::new(text.to_vec())), b',');
        let mut rows = Vec::new();
        loop {
            match records.next() {
                Err(failure) => return (rows, Some(failure.into_text())),
                Ok(Next::Pause | Next::End) => return (rows, None),
                Ok(Next::Row) => {
                    let row = match records.row() {
                        Err(failure) => return (rows, Some(failure.into_text())),
                        Ok(row) => row,
                    };
                    if let Err(failure) = super::super::columns::expect_len(&row, 2, &records) {
                        return (rows, Some(failure.into_text()));
                    }
                    let fields: Vec<String> = row.fields().map(String::from).collect();
                    rows.push(fields.try_into().unwrap());
                }
            }
        }
    }

    fn in_blocks(text: &[u8], size: usize) -> Rows {
        let known = |name: &str| Known { name: name.to_owned(), given: Some(DataType::Utf8), seen: Seen::default() };
        let plan = Plan {
            known: vec![known("a"), known("b")],
            kinds: vec![DataType::Utf8; 2],
            purpose: Purpose::Values { all: true },
            nulls: Arc::new([]),
            delimiter: b',',
            header: false,
        };
        let mut parts = Parts::of_size(Cursor::new(text.to_vec()), plan, size);
        let mut rows = Vec::new();
        while let Some(part) = parts.next().unwrap() {
            let columns: Vec<_> = part.columns.iter().map(|column| column.as_string::<i32>()).collect();
            let text = |column: usize, row: usize| match columns[column].is_null(row) {
                true => String::new(),
                false => columns[column].value(row).to_owned(),
            };
            rows.extend((0..part.rows()).map(|row| [text(0, row), text(1, row)]));
            if let Some(failure) = part.failed {
                return (rows, Some(failure.into_text()));
            }
        }
        (rows, None)
    }

    /// Rows, and what is wrong with one of them and in which line, do not depend on how a file is cut into blocks: whatever
    /// quotes, delimiters and line ends are where, and wherever the file ends.
    #[test]
    fn blocks_change_nothing() {
        let pieces: [&[u8]; 14] = [
            b"\"",
            b"\"\"",
            b",",
            b",",
            b"\n",
            b"\r\n",
            b"\r",
            b"x",
            b"1,2\n",
            b"\"a\",b\n",
            b"\"a\nb\",\"c,\"\"\"\n",
            b"y\",z\n",
            b"\n\n",
            b"\xff",
        ];
        let mut seed = 5_u64;
        let (mut good, mut bad, mut long) = (0, 0, 0);
        for round in 0..4000_u64 {
            let mut random = |below: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((seed >> 33) % below) as usize
            };
            // Mostly rows that can be read, so that errors come late.
            let odd = if round % 4 == 0 { pieces.len() as u64 } else { 4 };
            let mut text: Vec<u8> = Vec::new();
            for _ in 0..random(60) {
                text.extend(if random(30) == 0 { pieces[random(odd)] } else { pieces[8 + random(5)] });
            }
            let expected = one_by_one(&text);
            for size in [1, 7, 40, 4096] {
                assert_eq!(in_blocks(&text, size), expected, "{size}: {:?}", String::from_utf8_lossy(&text));
            }
            good += u64::from(expected.1.is_none());
            bad += u64::from(expected.1.is_some());
            long += u64::from(expected.1.is_some() && expected.0.len() > 10);
        }
        assert!(good > 500 && bad > 500 && long > 100, "{good} {bad} {long}");
    }
}
