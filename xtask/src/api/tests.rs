use std::collections::BTreeMap;
use std::path::Path;

use super::names::Sources;
use super::{compare, text};

const SOURCE: &str = r#"
    mod error {
        /// Why.
        #[derive(Debug, thiserror::Error)]
        #[non_exhaustive]
        pub enum Error {
            #[error("{0}")]
            Invalid(String),
            #[error("full")]
            Full { asked: u64 },
            #[error("arrow")]
            Arrow(#[from] ArrowError),
            #[doc(hidden)]
            Never,
        }
        pub type Result<T, E = Error> = std::result::Result<T, E>;
    }
    mod core {
        pub mod ring {
            /// Has the name of a public type, and is none.
            #[derive(Clone)]
            pub struct Lease;
            impl Lease { pub fn inner(&self) {} }
        }
    }
    pub mod channel {
        use crate::error::Result;
        #[derive(Clone)]
        pub struct Lease<T> { inner: T, pub count: u64 }
        impl<T: Send> Lease<T> {
            /// Acknowledges.
            #[must_use]
            pub fn ack(mut self, items: &[u8], other: Option<&'static str>, one_more: &str, and_more: u64) -> Result<Option<T>>
            where
                T: Sync,
            {
                Ok(None)
            }
            pub(crate) fn hidden(&self) {}
            #[cfg(test)]
            pub fn in_tests(&self) {}
            #[doc(hidden)]
            pub fn not_documented(&self) {}
        }
        impl<T> std::ops::Deref for Lease<T> {
            type Target = T;
            fn deref(&self) -> &T { &self.inner }
        }
    }
    mod value {
        mod sealed { pub trait Sealed {} }
        pub trait Element: sealed::Sealed {
            const TYPE: u64;
            fn name(&self) -> String;
            fn length(&self) -> usize { 0 }
        }
        impl sealed::Sealed for super::channel::Lease<u8> {}
        impl Element for f32 { const TYPE: u64 = 7; fn name(&self) -> String { String::new() } }
        macro_rules! kinds { ($($kind:ident;)*) => { pub enum Kind { $($kind,)* } impl Kind { pub fn size(self) -> usize { 1 } pub(crate) fn code(self) {} } } }
        kinds! { One; Two; }
        #[cfg(test)]
        mod tests { impl Clone for crate::channel::Lease<u8> {} }
    }
    pub use channel::Lease;
    pub use error::{Error, Result as Outcome};
    pub use crate::value::{Element, Kind};
    pub use ndarray;
    pub const KIB: u64 = 1 << 10;
    #[cfg(feature = "proof")]
    pub mod proof { pub use crate::core::ring::Lease; }
"#;

fn api(source: &str) -> String {
    let mut sources = Sources { modules: BTreeMap::new() };
    sources.add(Vec::new(), syn::parse_file(source).unwrap().items, Path::new("")).unwrap();
    text(&sources)
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn every_public_item_has_a_line() {
    let expected = [
        "faretra::Element: impl Element for f32 { const TYPE: u64 = 7; }",
        "faretra::Element: pub trait Element: sealed::Sealed { .. }",
        "faretra::Element::TYPE: const TYPE: u64",
        "faretra::Element::length: fn length(&self) -> usize { .. }",
        "faretra::Element::name: fn name(&self) -> String",
        "faretra::Error: #[non_exhaustive] pub enum Error { .. }",
        "faretra::Error: impl Debug for Error",
        "faretra::Error: impl Display for Error",
        "faretra::Error: impl Error for Error",
        "faretra::Error: impl From<ArrowError> for Error",
        "faretra::Error::Arrow: Arrow(ArrowError)",
        "faretra::Error::Full: Full { .. }",
        "faretra::Error::Full::asked: u64",
        "faretra::Error::Invalid: Invalid(String)",
        "faretra::KIB: pub const KIB: u64 = 1 << 10;",
        "faretra::Kind: kinds! { One }",
        "faretra::Kind: kinds! { Two }",
        "faretra::Kind::size: pub fn size(self) -> usize",
        "faretra::Lease: impl<T: Clone> Clone for Lease<T>",
        "faretra::Lease: impl<T> Deref for Lease<T> { type Target = T; }",
        "faretra::Lease: pub struct Lease<T> { /* private */ }",
        "faretra::Lease::ack: impl<T: Send> Lease<T>: #[must_use] pub fn ack(self, items: &[u8], \
         other: Option<&'static str>, one_more: &str, and_more: u64) -> Result<Option<T>> where T: Sync",
        "faretra::Lease::count: u64",
        "faretra::Outcome: pub type Result<T, E = Error> = std::result::Result<T, E>;",
        "faretra::channel: pub mod channel",
        "faretra::channel::Lease: pub use faretra::Lease",
        "faretra::ndarray: pub use ndarray",
    ];
    assert_eq!(lines(&api(SOURCE)), expected);
}

/// Each edit changes what users can rely on, and the text tells which lines went and which came.
#[test]
fn a_change_is_shown_with_its_lines() {
    let edits = [
        ("pub fn ack(", "pub fn acknowledge(", "- faretra::Lease::ack: ", "+ faretra::Lease::acknowledge: "),
        ("items: &[u8]", "items: &mut [u8]", "items: &[u8], other", "items: &mut [u8], other"),
        (
            "#[derive(Debug, thiserror::Error)]",
            "#[derive(thiserror::Error)]",
            "- faretra::Error: impl Debug for Error",
            "",
        ),
        ("Arrow(#[from] ArrowError)", "Arrow(ArrowError)", "- faretra::Error: impl From<ArrowError> for Error", ""),
        (
            "Full { asked: u64 }",
            "Full { asked: u32 }",
            "- faretra::Error::Full::asked: u64",
            "+ faretra::Error::Full::asked: u32",
        ),
        ("pub count: u64", "count: u64", "- faretra::Lease::count: u64", ""),
        ("type Target = T;", "type Target = Vec<T>;", "{ type Target = T; }", "{ type Target = Vec<T>; }"),
        (
            "impl<T: Send> Lease<T>",
            "impl<T> Lease<T>",
            "impl<T: Send> Lease<T>: ",
            "+ faretra::Lease::ack: impl<T> Lease<T>: ",
        ),
        (
            "usize { 0 }",
            "usize;",
            "length(&self) -> usize { .. }",
            "+ faretra::Element::length: fn length(&self) -> usize\n",
        ),
        ("kinds! { One; Two; }", "kinds! { One; }", "- faretra::Kind: kinds! { Two }", ""),
        ("pub use channel::Lease;", "", "- faretra::Lease: pub struct", "+ faretra::channel::Lease: pub struct"),
        (
            "1 << 10",
            "1000",
            "- faretra::KIB: pub const KIB: u64 = 1 << 10;",
            "+ faretra::KIB: pub const KIB: u64 = 1000;",
        ),
        ("#[non_exhaustive]", "", "- faretra::Error: #[non_exhaustive]", "+ faretra::Error: pub enum Error { .. }"),
    ];
    for (was, is, gone, come) in edits {
        let changed = SOURCE.replacen(was, is, 1);
        assert_ne!(SOURCE, changed, "{was}");
        let told = compare(&api(SOURCE), &api(&changed)).expect_err(was);
        assert!(told.contains(gone) && told.contains(come), "{was}:\n{told}");
        assert!(told.contains("`cargo xtask api --write`"), "{told}");
    }
}

#[test]
fn what_users_cannot_see_changes_nothing() {
    let edits = [
        ("/// Acknowledges.", "/// Says that it is done."),
        ("Ok(None)", "Ok(self.inner)"),
        ("pub(crate) fn hidden", "pub(crate) fn renamed"),
        ("pub fn in_tests", "pub fn only_in_tests"),
        ("pub fn not_documented", "pub fn nobody_promised"),
        ("pub fn inner(", "pub fn innermost("),
        ("std::ops::Deref for", "Deref for"),
        ("ack(mut self", "ack(self"),
        ("pub use channel::Lease;", "pub use all::*; mod all { pub use crate::channel::*; }"),
        ("pub mod channel {\n        use crate::error::Result;", "pub mod channel {\n        use crate::error::*;"),
    ];
    for (was, is) in edits {
        let changed = SOURCE.replacen(was, is, 1);
        assert_ne!(SOURCE, changed, "{was}");
        assert_eq!(compare(&api(SOURCE), &api(&changed)), Ok(()), "{was}");
    }
}
