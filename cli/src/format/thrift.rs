//! As much of Parquet's footer as must be known before its reader sees it: how deep the schema nests. The footer
//! lists the schema's elements one after the other; readers make trees of them, one call within the other, and a
//! footer of a page can nest deeper than any stack.

/// Nesting of what is skipped. Parquet's own structures need five.
const SKIPPED: u32 = 16;

/// Thrift's compact encoding.
struct Compact<'a>(&'a [u8]);

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn pass(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    /// Number and kind of the next field of a structure; kind 0 at its end.
    fn field(&mut self, last: i64) -> Option<(i64, u8)> {
        let byte = self.byte()?;
        match (byte >> 4, byte & 15) {
            (_, 0) => Some((last, 0)),
            (0, kind) => Some((self.signed()?, kind)),
            (more, kind) => Some((last + i64::from(more), kind)),
        }
    }

    /// Count and kind of a list's items.
    fn list(&mut self) -> Option<(u64, u8)> {
        let byte = self.byte()?;
        match byte >> 4 {
            15 => Some((self.number()?, byte & 15)),
            count => Some((u64::from(count), byte & 15)),
        }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            1 | 2 => Some(()),
            3 => self.pass(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.pass(8),
            8 => {
                let count = self.number()?;
                self.pass(usize::try_from(count).ok()?)
            }
            9 | 10 => {
                let (count, kind) = self.list()?;
                // Every item has a byte, booleans too.
                (0..count).try_for_each(|_| if matches!(kind, 1 | 2) { self.pass(1) } else { self.skip(kind, depth) })
            }
            12 => {
                let mut last = 0;
                loop {
                    let (number, kind) = self.field(last)?;
                    if kind == 0 {
                        return Some(());
                    }
                    self.skip(kind, depth)?;
                    last = number;
                }
            }
            _ => None,
        }
    }

    /// Number of children of a schema element.
    fn children(&mut self) -> Option<i64> {
        let (mut last, mut children) = (0, 0);
        loop {
            match self.field(last)? {
                (_, 0) => return Some(children),
                (number @ 5, 4..=6) => {
                    children = self.signed()?;
                    last = number;
                }
                (number, kind) => {
                    self.skip(kind, SKIPPED)?;
                    last = number;
                }
            }
        }
    }
}

/// The levels of the schema in a footer, its root not counted. `None`: it is damaged.
pub fn depth(footer: &[u8]) -> Option<usize> {
    let mut footer = Compact(footer);
    let mut last = 0;
    let count = loop {
        match footer.field(last)? {
            (2, 9) => break footer.list().filter(|(_, kind)| *kind == 12)?.0,
            (_, 0) => return None,
            (number, kind) => {
                footer.skip(kind, SKIPPED)?;
                last = number;
            }
        }
    };
    // Children that are still to come, of each element that the next one is in.
    let mut open: Vec<i64> = Vec::new();
    let mut deepest = 0;
    for _ in 0..count {
        while open.last() == Some(&0) {
            open.pop();
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        deepest = deepest.max(open.len());
        let children = footer.children()?;
        if children > 0 {
            open.push(children);
        }
    }
    Some(deepest)
}

#[cfg(test)]
mod tests {
    use super::depth;

    /// A footer of this many groups in groups.
    fn footer(groups: usize) -> Vec<u8> {
        let element = |children: u8| match children {
            0 => vec![0x15, 2, 0x38, 1, b'x', 0],
            // The name is field 4, the number of children field 5.
            children => vec![0x48, 1, b'x', 0x15, children * 2, 0],
        };
        let mut bytes = vec![0x15, 2, 0x19, 0xfc];
        let mut count = groups + 1;
        while count >= 128 {
            bytes.push((count & 127) as u8 | 128);
            count >>= 7;
        }
        bytes.push(count as u8);
        (0..groups).for_each(|_| bytes.extend(element(1)));
        bytes.extend(element(0));
        bytes
    }

    #[test]
    fn the_levels_of_a_schema_are_counted_without_a_call_for_each() {
        assert_eq!(depth(&footer(1)), Some(1));
        assert_eq!(depth(&footer(3)), Some(3));
        assert_eq!(depth(&footer(1_000_000)), Some(1_000_000));
    }

    #[test]
    fn a_footer_that_is_cut_anywhere_is_damaged() {
        let footer = footer(5);
        for cut in 0..footer.len() {
            assert_eq!(depth(&footer[..cut]), None, "{cut}");
        }
    }
}
