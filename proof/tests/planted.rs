//! The list of planted bugs keeps up with the sources: each text that an edit replaces is there, once.

use std::path::Path;

use proof::planted::bugs;

#[test]
fn each_edit_has_its_place() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut wrong = vec![];
    for bug in bugs() {
        let mut text = std::fs::read_to_string(src.join(bug.file)).unwrap_or_default();
        for (find, replace) in bug.edits {
            match text.matches(find).count() {
                1 => text = text.replacen(find, replace, 1),
                found => wrong.push(format!("`{}`: {} has {found} times {find:?}", bug.what, bug.file)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
