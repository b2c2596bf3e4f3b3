//! The text of a [`DType`], read: what numpy writes as `dtype.str` and `dtype.descr`, and the `dict` that it takes for records
//! whose fields lie anywhere.
//!
//! ```text
//! type    = word | "'" word "'" | list | pair | dict
//! word    = [<>|=] (b1 | i n | u n | f n | c n | M8 step | m8 step | S n | U n | V n)
//! list    = [ (name, type), (name, type, shape), ... ]       fields one behind the other
//! name    = "'" text "'" | ('title', 'name')                 titles are dropped; '' of |Vn is padding
//! pair    = (type, shape)                                    a sub-array
//! dict    = { 'names': [...], 'formats': [...], 'offsets': [...], 'titles': [...], 'itemsize': n, 'aligned': True }
//! ```
//!
//! The text is input: a parse takes time in proportion to its length, and brackets go [`MAX_DTYPE_DEPTH`](crate::MAX_DTYPE_DEPTH) records deep.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::value::dtype::{ByteOrder, DType, DTypeField, DTypeKind, MAX_DTYPE_TEXT, ScalarKind, check_depth};
use crate::value::timestep::{DatetimeUnit, TimeStep};

/// Reads what numpy writes as `dtype.str`, `dtype.descr` and `str(dtype)` of a record, as in an `.npy` header.
impl FromStr for DType {
    type Err = Error;

    fn from_str(text: &str) -> Result<DType> {
        if text.len() > MAX_DTYPE_TEXT {
            let (asked, most) = (text.len() as u64, MAX_DTYPE_TEXT as u64);
            return Err(Error::TooLarge {
                what: "bytes of an element type's text",
                asked,
                most,
                hint: "have fewer fields, or shorter names",
            });
        }
        let trimmed = text.trim();
        if !trimmed.starts_with(['\'', '"', '[', '(', '{']) {
            return word(trimmed);
        }
        let mut parser = Parser { text, at: 0 };
        let dtype = parser.dtype(0)?;
        match parser.peek() {
            None => Ok(dtype),
            Some(_) => Err(parser.wrong("the end")),
        }
    }
}

/// A type without parts.
fn word(text: &str) -> Result<DType> {
    let unknown = || Error::invalid(format!("`{}` is not the type of an array's elements", shown(text)));
    let (order, rest) = match text.chars().next() {
        Some('<' | '=') => (ByteOrder::Little, &text[1..]),
        Some('>') => (ByteOrder::Big, &text[1..]),
        Some('|') => (ByteOrder::NotApplicable, &text[1..]),
        _ => (ByteOrder::Little, text),
    };
    let letter = rest.chars().next().ok_or_else(unknown)?;
    let rest = &rest[letter.len_utf8()..];
    if letter == 'O' {
        return Err(Error::invalid(format!(
            "`{}` is the type of Python objects, which are pointers into one process: convert them to numbers, to text of a \
             fixed width, or pickle them to bytes",
            shown(text)
        )));
    }
    if letter == 'T' {
        return Err(Error::invalid(
            "`T` is numpy's text of any width, which is pointers into one process: convert it to a fixed width (`<U16`), or \
             publish a column of strings",
        ));
    }
    if matches!(letter, 'M' | 'm') {
        let step = time_step(rest.strip_prefix('8').ok_or_else(unknown)?).ok_or_else(unknown)?;
        let kind = if letter == 'M' { ScalarKind::Datetime(step) } else { ScalarKind::Timedelta(step) };
        return DType::scalar(kind, 8, order);
    }
    let kind = match letter {
        'b' => ScalarKind::Bool,
        'i' => ScalarKind::Int,
        'u' => ScalarKind::UInt,
        'f' => ScalarKind::Float,
        'c' => ScalarKind::Complex,
        'S' => ScalarKind::Bytes,
        'U' => ScalarKind::Unicode,
        'V' => ScalarKind::Void,
        _ => return Err(unknown()),
    };
    let number = number(rest).ok_or_else(unknown)?;
    let size = if letter == 'U' { number.saturating_mul(4) } else { number };
    DType::scalar(kind, size, order)
}

/// Digits only, and no more than a `u64` has.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `[ns]`, `[25s]`, or nothing.
fn time_step(text: &str) -> Option<TimeStep> {
    if text.is_empty() {
        return Some(TimeStep { count: 1, unit: DatetimeUnit::Generic });
    }
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    let digits = inside.bytes().take_while(u8::is_ascii_digit).count();
    let unit = DatetimeUnit::of(&inside[digits..]).filter(|unit| *unit != DatetimeUnit::Generic)?;
    let count = if digits == 0 { 1 } else { u32::try_from(number(&inside[..digits])?).ok()? };
    (1..=i32::MAX as u32).contains(&count).then_some(TimeStep { count, unit })
}

/// The beginning of what was given, for a message.
fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(60).collect();
    if start.len() < text.len() {
        start.push_str("...");
    }
    start
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    /// The next character that is no space, which stays.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    /// Whether `c` is next; then it is taken.
    fn takes(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    fn take(&mut self, c: char) -> Result<()> {
        if self.takes(c) { Ok(()) } else { Err(self.wrong(&format!("`{c}`"))) }
    }

    fn wrong(&self, expected: &str) -> Error {
        let found = match &self.text[self.at..] {
            "" => "the end".to_owned(),
            rest => format!("`{}`", shown(rest)),
        };
        Error::invalid(format!("in the text of an element type, {expected} belongs at byte {}, not {found}", self.at))
    }

    /// Items up to the closing bracket; Python allows a comma behind the last.
    fn items<T>(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut all = vec![];
        while !self.takes(close) {
            all.push(item(self)?);
            if !self.takes(',') {
                self.take(close)?;
                break;
            }
        }
        Ok(all)
    }

    /// A type that lies `depth` brackets deep.
    fn dtype(&mut self, depth: usize) -> Result<DType> {
        match self.peek() {
            Some('\'' | '"') => {
                let text = self.string()?;
                word(&text)
            }
            Some('[') => {
                check_depth(depth + 1)?;
                self.at += 1;
                let mut end = 0;
                let mut index = 0;
                let fields = self.items(']', |parser| {
                    let field = parser.field(depth + 1, end, index)?;
                    index += 1;
                    end = field.offset.saturating_add(field.dtype.itemsize());
                    Ok(field)
                })?;
                // Padding has no name, and raw bytes as its type.
                let fields = fields.into_iter().filter(|field| !field.name.is_empty()).collect();
                DType::record(end, fields)
            }
            Some('(') => {
                check_depth(depth + 1)?;
                self.at += 1;
                let base = self.dtype(depth + 1)?;
                self.take(',')?;
                let shape = self.shape()?;
                self.takes(',');
                self.take(')')?;
                if shape.is_empty() { Ok(base) } else { DType::array(base, &shape) }
            }
            Some('{') => {
                check_depth(depth + 1)?;
                self.at += 1;
                self.dict(depth + 1)
            }
            _ => Err(self.wrong("a type")),
        }
    }

    /// One tuple of a list of fields.
    fn field(&mut self, depth: usize, offset: usize, index: usize) -> Result<DTypeField> {
        self.take('(')?;
        let name = self.name()?;
        self.take(',')?;
        let base = self.dtype(depth)?;
        let mut dtype = base.clone();
        if self.takes(',') && self.peek() != Some(')') {
            let shape = self.shape()?;
            if !shape.is_empty() {
                dtype = DType::array(base, &shape)?;
            }
            self.takes(',');
        }
        self.take(')')?;
        let is_padding = name.is_empty() && matches!(dtype.kind(), DTypeKind::Void);
        let name = if name.is_empty() && !is_padding { format!("f{index}") } else { name };
        Ok(DTypeField { name, offset, dtype })
    }

    /// A name, or a title and a name.
    fn name(&mut self) -> Result<String> {
        if !self.takes('(') {
            return self.string();
        }
        self.string()?;
        self.take(',')?;
        let name = self.string()?;
        self.takes(',');
        self.take(')')?;
        Ok(name)
    }

    fn dict(&mut self, depth: usize) -> Result<DType> {
        let (mut names, mut formats, mut offsets, mut itemsize) = (None, None, None, None);
        let entries = |parser: &mut Self| {
            let key = parser.string()?;
            parser.take(':')?;
            match key.as_str() {
                "names" => names = Some(parser.list(Self::string)?),
                "formats" => formats = Some(parser.list(|parser| parser.dtype(depth))?),
                "offsets" => offsets = Some(parser.list(Self::integer)?),
                "titles" => drop(parser.list(Self::title)?),
                "itemsize" => itemsize = Some(parser.integer()?),
                "aligned" if parser.takes_word("True") || parser.takes_word("False") => {}
                _ => return Err(Error::invalid(format!("`{}` is no key of a record's type", shown(&key)))),
            }
            Ok(())
        };
        self.items('}', entries)?;
        let (Some(names), Some(formats)) = (names, formats) else {
            return Err(Error::invalid("the text of a record's type lacks `names` or `formats`"));
        };
        // Without offsets, one behind the other.
        let offsets = offsets.unwrap_or_else(|| {
            let ends = formats.iter().scan(0usize, |end, format| {
                let here = *end;
                *end = here.saturating_add(format.itemsize());
                Some(here)
            });
            ends.collect()
        });
        if names.len() != formats.len() || names.len() != offsets.len() {
            return Err(Error::invalid(format!(
                "the text of a record's type has {} names, {} formats and {} offsets: give as many of each",
                names.len(),
                formats.len(),
                offsets.len()
            )));
        }
        let fields: Vec<_> = names
            .into_iter()
            .zip(formats)
            .zip(offsets)
            .map(|((name, dtype), offset)| DTypeField { name, offset, dtype })
            .collect();
        let least = fields.iter().map(|field| field.offset.saturating_add(field.dtype.itemsize())).max();
        DType::record(itemsize.unwrap_or(least.unwrap_or(0)), fields)
    }

    fn list<T>(&mut self, item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let close = if self.takes('(') {
            ')'
        } else {
            self.take('[')?;
            ']'
        };
        self.items(close, item)
    }

    fn title(&mut self) -> Result<()> {
        if self.takes_word("None") { Ok(()) } else { self.string().map(drop) }
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.peek();
        let there = self.text[self.at..].starts_with(word);
        if there {
            self.at += word.len();
        }
        there
    }

    /// A shape: a tuple, or one number.
    fn shape(&mut self) -> Result<Vec<usize>> {
        match self.peek() {
            Some('(' | '[') => self.list(Self::integer),
            _ => Ok(vec![self.integer()?]),
        }
    }

    fn integer(&mut self) -> Result<usize> {
        self.peek();
        let digits = self.text[self.at..].bytes().take_while(u8::is_ascii_digit).count();
        let value = self.text[self.at..self.at + digits].parse().map_err(|_| self.wrong("a number"))?;
        self.at += digits;
        Ok(value)
    }

    /// A Python literal of text.
    fn string(&mut self) -> Result<String> {
        let Some(quote @ ('\'' | '"')) = self.peek() else { return Err(self.wrong("text in quotes")) };
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.text[self.at..].chars().next() else { return Err(self.wrong("a closing quote")) };
            let here = self.at;
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(out),
                '\\' => match self.escaped() {
                    Some(c) => out.push(c),
                    None => {
                        self.at = here;
                        return Err(self.wrong("an escape that Python has"));
                    }
                },
                c => out.push(c),
            }
        }
    }

    /// What stands for a character behind a backslash.
    fn escaped(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        let digits = match c {
            '\\' | '\'' | '"' => return Some(c),
            'n' => return Some('\n'),
            'r' => return Some('\r'),
            't' => return Some('\t'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let hex = self.text.get(self.at..self.at + digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += digits;
        char::from_u32(u32::from_str_radix(hex, 16).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::dtype::{MAX_DTYPE_DEPTH, MAX_ITEMSIZE};
    use crate::value::element::ElementType;

    fn parse(text: &str) -> DType {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        match text.parse::<DType>() {
            Err(error) => error.to_string(),
            Ok(dtype) => panic!("{text} is {dtype:?}"),
        }
    }

    /// Every type that numpy writes comes back as numpy writes it.
    #[test]
    fn texts_of_numpy_round_trip() {
        for (text, size, align) in [
            ("|b1", 1, 1),
            ("|i1", 1, 1),
            ("<u2", 2, 2),
            (">u2", 2, 2),
            (">f8", 8, 8),
            ("<f2", 2, 2),
            ("<f16", 16, 16),
            ("<c8", 8, 4),
            (">c16", 16, 8),
            ("<c32", 32, 16),
            ("<M8[ns]", 8, 8),
            (">M8[25s]", 8, 8),
            ("<m8[D]", 8, 8),
            ("<M8", 8, 8),
            ("<m8", 8, 8),
            ("|S10", 10, 1),
            ("<U7", 28, 4),
            (">U1", 4, 4),
            ("|V3", 3, 1),
            ("<i16", 16, 16),
            ("[('a', '<i4'), ('b', '<f8')]", 12, 1),
            ("[('a', '<i4'), ('', '|V4'), ('b', '<f8')]", 16, 8),
            ("[('a', '|u1'), ('', '|V7'), ('b', '<f8'), ('', '|V8')]", 24, 8),
            ("[('', '|V2'), ('x', '>u2')]", 4, 2),
            ("[('p', [('x', '<f4'), ('y', '<f4')], (2,)), ('q', '<f8', (2, 3))]", 64, 8),
            ("[('r', [('s', [('t', '|S3')])])]", 3, 1),
            ("[('größe', '<f4'), (\"it's\", '<f4'), ('a\\\\b\\n', '|u1')]", 9, 1),
            ("{'names': ['i', 'f'], 'formats': ['<i4', '<f4'], 'offsets': [0, 0], 'itemsize': 4}", 4, 4),
            ("{'names': ['b', 'a'], 'formats': ['<i4', '|S1'], 'offsets': [4, 0], 'itemsize': 8}", 8, 4),
            (
                "[('u', {'names': ['b', 'a'], 'formats': ['|u1', ('<u2', (2,))], 'offsets': [4, 0], 'itemsize': 6})]",
                6,
                2,
            ),
        ] {
            let dtype = parse(text);
            assert_eq!((dtype.to_string().as_str(), dtype.itemsize(), dtype.alignment()), (text, size, align));
            assert_eq!(parse(&dtype.descr()), dtype);
        }
    }

    /// What means the same is the same type.
    #[test]
    fn other_spellings_are_read() {
        for (text, same) in [
            ("f8", "<f8"),
            ("=f8", "<f8"),
            ("'<f8'", "<f8"),
            ("<i1", "|i1"),
            (">b1", "|b1"),
            (">S4", "|S4"),
            ("<M8[1ns]", "<M8[ns]"),
            ("[(('a title', 'a'), '<f4')]", "[('a', '<f4')]"),
            ("[ ( \"a\",'<f4' ,2 ) , ]", "[('a', '<f4', (2,))]"),
            ("[('a', '<f4', ())]", "[('a', '<f4')]"),
            ("[('a', ('<f4', (3,)), (2,))]", "[('a', '<f4', (2, 3))]"),
            ("[('', '<f4'), ('', '|V1'), ('', '<i4')]", "[('f0', '<f4'), ('', '|V1'), ('f2', '<i4')]"),
            ("[('\\x41\\u00e9\\U0001F600', '<f4')]", "[('Aé😀', '<f4')]"),
            ("{'names': ['a', 'b'], 'formats': ['<i4', '<f4']}", "[('a', '<i4'), ('b', '<f4')]"),
            (
                "{'names': ['a'], 'formats': ['<i4'], 'offsets': [4], 'titles': [None], 'itemsize': 12, 'aligned': True}",
                "[('', '|V4'), ('a', '<i4'), ('', '|V4')]",
            ),
        ] {
            assert_eq!(parse(text), parse(same), "{text}");
            assert_eq!(parse(text).to_string(), same);
        }
        for &element in ElementType::ALL {
            let dtype = DType::from(element);
            assert_eq!(dtype.element(), Some(element));
            assert_eq!(parse(&dtype.to_string()), element);
            if dtype.is_known_to_numpy() {
                assert_eq!(dtype.to_string(), element.numpy_descr());
            }
        }
    }

    /// What is no plain memory, has no bytes, or too many, is refused with its numbers.
    #[test]
    fn what_cannot_be_is_refused() {
        for (text, why) in [
            ("|O", "pointers"),
            ("O", "pointers"),
            ("[('a', '<f4'), ('b', '|O')]", "pointers"),
            ("|T16", "pointers"),
            ("|S0", "0 bytes"),
            ("<U0", "0 bytes"),
            ("|V0", "0 bytes"),
            ("[]", "0 bytes"),
            ("[('', '|V8')]", "record of 8 bytes has no fields"),
            ("[('a', '<f4', (2, 0))]", "0 bytes"),
            ("|V2147483648", "2147483648"),
            ("<U536870912", "2147483648"),
            ("[('a', '|V2147483647'), ('b', '|u1')]", "2147483648"),
            ("[('a', '<f8', (4294967296, 4294967296, 4294967296))]", "18446744073709551615"),
            ("[('a', '|u1', (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1))]", "33"),
            ("[('a', '<f4'), ('a', '<f4')]", "two fields of a record have the name `a`"),
            ("{'names': ['a'], 'formats': ['<f4'], 'offsets': [6], 'itemsize': 8}", "4 bytes from byte 6"),
            ("{'names': ['a'], 'formats': [], 'offsets': [6], 'itemsize': 8}", "1 names, 0 formats"),
            ("{'names': ['a'], 'formats': ['<f4'], 'offsets': [18446744073709551615]}", "18446744073709551615 bytes"),
            ("{'names': [''], 'formats': ['<f4']}", "no name"),
            ("{'nombres': ['a']}", "nombres"),
            ("f3", "3 bytes"),
            ("<i3", "3 bytes"),
            ("b2", "2 bytes"),
            ("|f8", "order of bytes"),
            ("<M8[]", "`<M8[]`"),
            ("<M8[0s]", "`<M8[0s]`"),
            ("<M8[2147483648s]", "M8[2147483648s]"),
            ("<M8[s/2]", "M8[s/2]"),
            ("<M4", "M4"),
            ("", "``"),
            ("<", "`<`"),
            ("é8", "é8"),
            ("<é", "<é"),
            ("float64", "float64"),
            ("[('a', '<f4')] x", "the end"),
            ("[('a' '<f4')]", "`,` belongs at byte 6"),
            ("[('a', <f4)]", "a type"),
            ("[('a', '<f4'", "`)` belongs at byte 12, not the end"),
            ("'<f4", "closing quote"),
            ("[('\\q', '<f4')]", "escape"),
            ("[('\\ud800', '<f4')]", "escape"),
            ("[('a', '<f4', -1)]", "a number"),
        ] {
            let message = refused(text);
            assert!(message.contains(why), "{text}: {message}");
        }
        let long = "|V1".repeat(MAX_DTYPE_TEXT);
        assert!(refused(&long).contains("65536"), "{}", refused(&long));
        let deep = |n: usize| format!("{}'<f4'{}", "[('a', ".repeat(n), ")]".repeat(n));
        assert_eq!(parse(&deep(MAX_DTYPE_DEPTH)).itemsize(), 4);
        assert!(refused(&deep(MAX_DTYPE_DEPTH + 1)).contains("17"));
        assert!(refused(&"[('a', ".repeat(9000)).contains("17"));
        assert!(refused(&"(".repeat(60_000)).contains("17"));
        assert!(parse(&format!("|V{MAX_ITEMSIZE}")).itemsize() == MAX_ITEMSIZE);
    }

    /// No text makes the parser panic or hang, and what it takes it writes as a text that it takes.
    #[test]
    fn damaged_texts_never_panic() {
        let samples = [
            "[('p', [('x', '<f4'), ('', '|V4'), ('y', '<f8')], (2,)), ('größe', '<U3', (2, 3)), (('t', 'n'), '>M8[25s]')]",
            "{'names': ['b', 'a'], 'formats': ['<i4', ('|S1', (2,))], 'offsets': [4, 0], 'itemsize': 8}",
        ];
        let mut seed = 7_u64;
        let mut random = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % n
        };
        let pieces =
            ["(", ")", "[", "]", "{", "}", "'", "\"", ",", ":", "\\", "9", "|V1", "<f4", "é", " ", "\0", "\\x"];
        let (mut taken, mut not) = (0, 0);
        for round in 0..40_000 {
            let mut text = samples[round % 2].to_owned();
            for _ in 0..=random(3) {
                let at = (0..=random(text.len() + 1)).rev().find(|&at| text.is_char_boundary(at)).unwrap();
                match random(3) {
                    0 => text.truncate(at),
                    1 => text.insert_str(at, pieces[random(pieces.len())]),
                    _ if at < text.len() => drop(text.remove(at)),
                    _ => {}
                }
            }
            match text.parse::<DType>() {
                Ok(dtype) => {
                    assert_eq!(parse(&dtype.to_string()), dtype, "{text}");
                    taken += 1;
                }
                Err(_) => not += 1,
            }
        }
        assert!(taken > 100 && not > 10_000, "{taken} {not}");
    }
}
