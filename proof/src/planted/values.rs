//! Planted bugs of what the types of elements promise, and of private views.

use super::bug::Bug;

/// All of them.
pub const BUGS: &[Bug] = &[
    Bug {
        what: "a draft is published while its own map is still shared",
        breaks: "M7",
        file: "core/twin.rs",
        edits: &[(
            "unsafe { mmap(start, len, protection, flags, file, at) }?;",
            "let _ = (at, unsafe { mmap(None, len, protection, MapFlags::MAP_PRIVATE, file, 0) }?);",
        )],
        test: ("it", "private::old_views_of_a_draft_change_nothing"),
    },
    Bug {
        what: "the private map of a draft that was published does not keep its object",
        breaks: "M7",
        file: "value/shared_map.rs",
        edits: &[("self.keeper = keeper;", "drop(keeper);")],
        test: ("it", "private::old_views_of_a_draft_change_nothing"),
    },
    Bug {
        what: "a private view is written where everybody reads",
        breaks: "M6",
        file: "core/segment.rs",
        edits: &[
            (
                "let fd = self.file.reopen(Access::Read)?; let mut options",
                "let fd = self.file.reopen(Access::ReadWrite)?; let mut options",
            ),
            ("options.map_copy(&fd)", "options.map_mut(&fd)"),
        ],
        test: ("it", "private::nobody_else_sees_what_is_written"),
    },
    Bug {
        what: "a private view lets go of the pin that it was made with",
        breaks: "M6",
        file: "value/view.rs",
        edits: &[("unsafe { core.env.map_private(", "core.unpin(self.id); unsafe { core.env.map_private(")],
        test: ("it", "private::a_view_keeps_its_object"),
    },
    Bug {
        what: "what is checked of an untrusted arena stays where others may write it",
        breaks: "C3",
        file: "value/check.rs",
        edits: &[("if self.copies() { Buffer", "if false { Buffer")],
        test: ("it", "untrusted::what_is_checked_cannot_be_changed_meanwhile"),
    },
    Bug {
        what: "a part is adopted without its checksum",
        breaks: "S1",
        file: "value/view.rs",
        edits: &[("part.seal()?;", "")],
        test: ("it", "checksums::a_changed_byte_is_told_by_object_and_column"),
    },
    Bug {
        what: "a block that is copied past the cache is hashed as another one",
        breaks: "S1",
        file: "value/copying.rs",
        edits: &[("sum.store(hash(src, number), Relaxed);", "sum.store(hash(src, number + 1), Relaxed);")],
        test: ("it", "checksums::a_changed_byte_is_told_by_object_and_column"),
    },
    Bug {
        what: "strides may lead out of the bytes",
        breaks: "D3",
        file: "value/dynamic.rs",
        edits: &[("if lowest < 0 || highest > bytes.len() as i128 {", "if highest < 0 {")],
        test: ("it", "dtypes::strides_are_gathered"),
    },
    Bug {
        what: "a field is read wherever it lies",
        breaks: "D4",
        file: "value/dtype.rs",
        edits: &[("have.offset == want.offset && have.dtype", "have.dtype")],
        test: ("it", "dtypes::structs_match_what_is_stored"),
    },
    Bug {
        what: "a time is read in the other order of bytes",
        breaks: "D4",
        file: "value/dtype.rs",
        edits: &[("wanted.itemsize() == 8 && self.byte_order() == wanted.byte_order()", "wanted.itemsize() == 8")],
        test: ("it", "dtypes::structs_match_what_is_stored"),
    },
    Bug {
        what: "elements of no bytes are let in",
        breaks: "D1",
        file: "value/info.rs",
        edits: &[("|| dtype.itemsize() == 0 {", "{")],
        test: ("it", "dtypes::what_cannot_be_is_refused"),
    },
    Bug {
        what: "a type is stored without its padding",
        breaks: "D2",
        file: "value/dtype.rs",
        edits: &[("items.extend(padding(end, field.offset));", "")],
        test: ("it", "dtypes::every_type_shape_and_order_comes_back"),
    },
];
