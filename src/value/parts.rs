//! Objects that have parts: where their body begins, and what the bodies of a bundle and a table say.
//!
//! ```text
//!  object:  | parts, 8 bytes each | pad to 64 | body |
//!  bundle:  | for each member: length of its name (u64) | name |
//!  table:   the descriptor of a batch without rows, which has the schema of every batch
//! ```
//!
//! The list of parts is the core's; which part is which follows from the order. Integers are little-endian. Any
//! bytes can be read: they are names or a schema, or an error.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::core::name;
use crate::core::tables::PartEntry;
use crate::error::{Error, Result};
use crate::value::batch::Layout;
use crate::value::plan::{Locate, Plan};

/// Bytes of the list of so many parts, padded so that the body behind it is 64-aligned.
pub(crate) fn list_bytes(parts: u64) -> u64 {
    (parts * size_of::<PartEntry>() as u64).next_multiple_of(64)
}

/// The names of a bundle's members, in the order of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberNames(Vec<String>);

impl MemberNames {
    /// Checks that each name can be one, and that no two are equal.
    pub(crate) fn new(names: Vec<String>) -> Result<MemberNames> {
        for (i, name) in names.iter().enumerate() {
            name::check(name)?;
            if names[..i].contains(name) {
                return Err(Error::invalid(format!("the bundle has two members named `{name}`")));
            }
        }
        Ok(MemberNames(names))
    }

    /// The body of the bundle.
    pub(crate) fn to_body(&self) -> Vec<u8> {
        let mut out = vec![];
        for name in &self.0 {
            out.extend((name.len() as u64).to_le_bytes());
            out.extend(name.as_bytes());
        }
        out
    }

    /// Reads the body of a bundle of `count` members.
    pub(crate) fn from_body(mut body: &[u8], count: u64) -> Result<MemberNames> {
        let short = || Error::damaged(format!("a bundle of {count} members has fewer names"));
        let mut names = vec![];
        for member in 0..count {
            let (len, rest) = body.split_first_chunk::<8>().ok_or_else(short)?;
            let len = u64::from_le_bytes(*len);
            let (name, rest) =
                usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or_else(short)?;
            // Copied first: what is checked may be written meanwhile.
            let name = String::from_utf8(name.to_vec())
                .map_err(|e| Error::damaged(format!("the name of member {member} of a bundle is not UTF-8: {e}")))?;
            names.push(name);
            body = rest;
        }
        Ok(MemberNames(names))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The index of the part that has this name.
    pub(crate) fn index_of(&self, name: &str) -> Option<u64> {
        self.0.iter().position(|known| known == name).map(|index| index as u64)
    }

    /// All names, for a message.
    pub(crate) fn joined(&self) -> String {
        self.0.join(", ")
    }
}

/// The body of a table, on its way in.
pub(crate) struct TableBody<'a>(Plan<'a>);

impl<'a> TableBody<'a> {
    /// The body of a table whose batches have the schema of `empty`, which [`empty_batch`] made.
    ///
    /// [`empty_batch`]: crate::value::schema::empty_batch
    pub(crate) fn new(empty: &'a RecordBatch) -> Result<TableBody<'a>> {
        Ok(TableBody(Plan::new(empty, Locate::NOWHERE)?))
    }

    /// Bytes that the body takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.root_bytes()
    }

    /// Writes the body; `at` is its offset in the data region, a multiple of 64.
    pub(crate) fn write(&self, at: u64, out: &mut [u8]) {
        self.0.write_root(at, &[], out, &|to, from| to.copy_from_slice(from));
    }
}

/// The schema that the body of a table or of a batch says.
pub(crate) fn schema_of(body: &[u8]) -> Result<SchemaRef> {
    Layout::parse(body)?.schema()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{DataType, Field, Schema};

    use super::*;
    use crate::value::extent::Extent;
    use crate::value::schema::empty_batch;

    fn names(all: &[&str]) -> MemberNames {
        MemberNames::new(all.iter().map(|&name| name.to_owned()).collect()).unwrap()
    }

    #[test]
    fn the_list_of_parts_ends_at_a_multiple_of_64() {
        assert_eq!([0, 1, 8, 9].map(list_bytes), [0, 64, 64, 128]);
        let body = |len| Extent { offset: 64, len }.behind(list_bytes(9)).map(|body| (body.offset, body.len));
        assert_eq!([130, 128, 127].map(body), [Some((192, 2)), Some((192, 0)), None]);
    }

    #[test]
    fn names_round_trip() {
        for all in [&[][..], &["a"], &["weights", "ä/ö", "x y"]] {
            let body = names(all).to_body();
            let back = MemberNames::from_body(&body, all.len() as u64).unwrap();
            assert_eq!(back, names(all));
            assert!(back.iter().eq(all.iter().copied()));
        }
        let all = names(&["a", "b"]);
        assert_eq!((all.index_of("b"), all.index_of("c")), (Some(1), None));
        assert_eq!(all.joined(), "a, b");
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let error =
            |all: &[&str]| MemberNames::new(all.iter().map(|&n| n.to_owned()).collect()).unwrap_err().to_string();
        assert!(error(&["a", "b", "a"]).contains("two members named `a`"));
        assert!(!error(&[""]).is_empty());
        assert!(!error(&["new\nline"]).is_empty());
    }

    /// Cut anywhere, with lengths of any size and other bytes, a body is names or an error.
    #[test]
    fn damaged_names_are_errors() {
        let whole = names(&["first", "second", "ß"]).to_body();
        for end in 0..whole.len() {
            assert!(matches!(MemberNames::from_body(&whole[..end], 3), Err(Error::Damaged(_))), "{end}");
        }
        assert!(MemberNames::from_body(&whole, 4).is_err());
        assert!(MemberNames::from_body(&whole, u64::MAX).is_err());
        for (at, len) in [(0, 6), (0, 4), (0, u64::MAX), (0, 1 << 63), (13, 1 << 40)] {
            let mut body = whole.clone();
            body[at..at + 8].copy_from_slice(&u64::to_le_bytes(len));
            assert!(matches!(MemberNames::from_body(&body, 3), Err(Error::Damaged(_))), "{len} at {at}");
        }
        for bit in 0..8 * whole.len() {
            let mut body = whole.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            match MemberNames::from_body(&body, 3) {
                Ok(names) => assert_eq!(names.iter().count(), 3),
                Err(error) => assert!(matches!(error, Error::Damaged(_)), "{error}"),
            }
        }
    }

    #[test]
    fn a_table_says_its_schema() {
        let fields = vec![Field::new("x", DataType::Float64, true), Field::new("t", DataType::Utf8, false)];
        let schema = Arc::new(Schema::new(fields));
        let empty = empty_batch(&schema).unwrap();
        let table = TableBody::new(&empty).unwrap();
        let mut out = vec![0xaa; table.bytes() as usize];
        table.write(128, &mut out);
        assert_eq!(schema_of(&out).unwrap(), schema);
        // Behind the descriptor are the buffers of columns without rows, which say nothing of the schema.
        for end in 0..out.len() - 64 {
            assert!(schema_of(&out[..end]).is_err());
        }
        for bit in 0..8 * out.len() {
            let mut damaged = out.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = schema_of(&damaged);
        }
    }
}
