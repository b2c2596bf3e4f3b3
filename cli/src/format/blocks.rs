//! A CSV file in blocks of whole rows, so that several threads can read them.
//!
//! A block begins where a row or an empty line does and ends behind a line end that is in no quotes. Whether one is,
//! depends on all quotes before it; so one thread finds the borders, and looks at little else than quotes. A quote opens
//! a field only at its beginning, as `records` reads it. Behind a row that cannot be read, borders mean nothing; the row is
//! in the block that it should be in, and nobody reads on.

use std::io::{ErrorKind, Read};

use memchr::{memchr, memrchr};

use super::records::ROW_BYTES;

/// Bytes of a block, about.
pub const BLOCK: usize = 1 << 20;

/// From so many bytes on, a `\r` alone may be the line end.
const FEW_LINES: usize = 16 << 20;

/// Some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// Whether the file ends with them.
    pub last: bool,
}

/// The blocks of a file.
pub struct Blocks<R> {
    source: R,
    delimiter: u8,
    size: usize,
    /// What was read of the next block.
    rest: Vec<u8>,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    /// Reads blocks of about `size` bytes.
    pub fn new(source: R, delimiter: u8, size: usize) -> Blocks<R> {
        Blocks { source, delimiter, size, rest: Vec::new(), ended: false }
    }

    fn block(&mut self) -> std::io::Result<Option<Block>> {
        let mut bytes = std::mem::take(&mut self.rest);
        let mut wanted = self.size;
        loop {
            let missing = wanted.saturating_sub(bytes.len());
            bytes.reserve(missing);
            match (&mut self.source).take(missing as u64).read_to_end(&mut bytes) {
                Ok(count) => self.ended = count < missing,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.ended {
                return Ok(Some(Block { bytes, last: true }));
            }
            let mut border = border(&bytes, self.delimiter, b'\n');
            if border.is_none() && bytes.len() >= FEW_LINES.min(8 * self.size) {
                border =
                    self::border(&bytes[..bytes.len() - 1], self.delimiter, b'\r').filter(|at| bytes[*at] != b'\n');
            }
            match border {
                Some(at) => {
                    self.rest.reserve(self.size);
                    self.rest.extend_from_slice(&bytes[at..]);
                    bytes.truncate(at);
                    return Ok(Some(Block { bytes, last: false }));
                }
                // Whoever reads it says that the row is too long.
                None if bytes.len() > ROW_BYTES + 1 => {
                    self.ended = true;
                    return Ok(Some(Block { bytes, last: true }));
                }
                None => wanted = bytes.len() * 2,
            }
        }
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = std::io::Result<Block>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let block = self.block().transpose();
        self.ended |= matches!(block, Some(Err(_)));
        block
    }
}

/// Where the last of the rows ends that are there as a whole, where rows end with `end`.
fn border(bytes: &[u8], delimiter: u8, end: u8) -> Option<usize> {
    let (mut at, mut border) = (0, None);
    loop {
        let quote = memchr(b'"', &bytes[at..]).map(|found| at + found);
        if let Some(line) = memrchr(end, &bytes[at..quote.unwrap_or(bytes.len())]) {
            border = Some(at + line + 1);
        }
        let Some(quote) = quote else { return border };
        let opens = quote == 0 || matches!(bytes[quote - 1], b'\n' | b'\r') || bytes[quote - 1] == delimiter;
        at = quote + 1;
        if !opens {
            continue;
        }
        // Behind the quote that closes the field: of two, neither does.
        loop {
            match memchr(b'"', &bytes[at..]) {
                None => return border,
                Some(found) => at += found + 1,
            }
            match bytes.get(at) {
                None => return border,
                Some(b'"') => at += 1,
                Some(_) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, Blocks};

    fn blocks(text: &[u8], size: usize) -> Vec<Block> {
        Blocks::new(text, b',', size).map(Result::unwrap).collect()
    }

    /// Nothing is lost or moved, only the last block is the last, and no block ends within a row.
    #[test]
    fn blocks_end_where_rows_do() {
        let rows: [&[u8]; 8] =
            [b"a,b\n", b"\"x\ny\",\"\"\"\n\"\n", b"1,2\r\n", b"\r\n", b"5\",6\n", b"\"a\"\"b\n\",\n", b"\n", b"7,8"];
        let text = rows.concat();
        let ends: Vec<usize> = (1..=rows.len()).map(|count| rows[..count].concat().len()).collect();
        for size in 1..text.len() + 2 {
            let blocks = blocks(&text, size);
            assert_eq!(blocks.iter().flat_map(|block| block.bytes.clone()).collect::<Vec<u8>>(), text, "{size}");
            assert!(blocks.iter().rev().map(|block| block.last).eq((0..blocks.len()).map(|i| i == 0)));
            let mut at = 0;
            for block in &blocks {
                at += block.bytes.len();
                assert!(ends.contains(&at), "{size}: {at}");
            }
        }
    }

    /// A file whose lines end with a carriage return alone is cut as well.
    #[test]
    fn lines_may_end_with_a_carriage_return_alone() {
        let text = b"a,b\r1,\"\r\"\r".repeat(50);
        let blocks = blocks(&text, 16);
        assert!(blocks.len() > 3);
        assert!(blocks.iter().all(|block| block.bytes.ends_with(b"\r") || block.bytes.is_empty()));
        assert_eq!(blocks.iter().map(|block| block.bytes.len()).sum::<usize>(), text.len());
    }
}
