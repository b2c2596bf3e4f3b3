//! The header of the C library, `capi/include/faretra.h`: made from its sources, and committed.
//!
//! The words at the head of each module become a chapter's, before the module's first function.

use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationLength, EnumConfig, ExportConfig, Language, LineEndingStyle, Style};

/// Where it lies.
pub const FILE: &str = "capi/include/faretra.h";

/// The sources whose functions C sees, in the order of the chapters.
const CHAPTERS: [&str; 9] = ["error", "arena", "value", "object", "draft", "channel", "feed", "sync", "ready"];

/// What stands at the top: what all functions have in common.
const PREFACE: &str = r#"/*
 * Faretra: Arrow batches and n-dimensional arrays in memory that processes share.
 *
 *     #include <faretra.h>                                  cc program.c $(pkg-config --cflags --libs faretra)
 *
 *     faretra_options options = FARETRA_OPTIONS;
 *     faretra_arena *arena;
 *     faretra_writer *writer;
 *     options.limit = 64 << 20;
 *     if (faretra_arena_create("flights", &options, &arena) ||
 *         faretra_writer_new(arena, FARETRA_FOREVER, &writer) ||
 *         faretra_publish(writer, "greeting", faretra_value_bytes("hello", 5), NULL))
 *         fprintf(stderr, "%s\n", faretra_last_error()->message);
 *
 * What holds for all functions:
 *
 * Errors. A function that can fail returns a faretra_code: 0 if it did what it was asked. faretra_last_error has the text.
 *
 * Ownership. A handle that a function gives out through its last parameters is the caller's, until the function that ends in
 * _free (for a lease: _ack, _nack, or a _forward that succeeds) gets it. Handles can be freed in any order. What a function is given (text, memory,
 * Arrow's structures) it uses while it runs, and keeps nothing of it; nothing of Arrow's that goes in is released by the library,
 * and everything of Arrow's that comes out is to be released by the caller, as the C data interface says.
 *
 * Threads. Any handle can be used, and freed, in any thread. Two threads can use one handle at once, but for drafts, subscribers
 * and selects, where the second call fails with FARETRA_INVALID. No thread may use a handle that another one frees.
 *
 * Waiting. A function with a parameter timeout_ms waits at most so many milliseconds; 0: not at all; FARETRA_FOREVER: without an
 * end. What does not come in time is FARETRA_TIMED_OUT. Functions without that parameter do not wait for other processes, except
 * that opening and removing an arena wait up to half a second for a process that is about to end it. Signals end no wait, unless
 * faretra_set_interrupt_hook says so. If the process that a wait depends on dies, the wait goes on, or fails, within 100 ms of the
 * kernel's letting go of that process.
 *
 * Death. A process may be killed at any instruction. What it published stays; what it held (pins, leases, locks, permits, drafts)
 * comes back by itself.
 *
 * fork. A child does not take part in the arenas of its parent. There, functions that can fail return FARETRA_FORKED; to free what
 * came through fork does nothing; memory that the parent had read stays readable for as long as the parent keeps it.
 * faretra_arena_reopen, or faretra_arena_open, takes part in the child. exec, and exit without freeing anything, are fine.
 *
 * Pointers that are null, handles of another kind, text that is not UTF-8 and sizes below zero are FARETRA_INVALID. Pointers to
 * memory that is not there, or not there any more, are as bad as anywhere in C.
 *
 * Made by `cargo xtask header --write`. Do not edit.
 */"#;

/// Behind what is included: what is not made from the sources.
const ARROW: &str = r#"
#ifdef __cplusplus
extern "C" {
#endif

/* The structures of the Arrow C data interface, as its specification has them. */

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
  int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
  const char *(*get_last_error)(struct ArrowArrayStream *);
  void (*release)(struct ArrowArrayStream *);
  void *private_data;
};

#endif /* ARROW_C_STREAM_INTERFACE */

#ifdef __cplusplus
}
#endif

/* Options that are all defaults, to be changed field by field. */
#define FARETRA_OPTIONS {sizeof(faretra_options), 0, 0, 0, 0, 0, 0, 0, 0, 0}"#;

/// Types of the sources that are other words in C.
const RENAMED: [(&str, &str); 4] = [
    ("Text", "const char *"),
    ("FFI_ArrowArray", "struct ArrowArray"),
    ("FFI_ArrowSchema", "struct ArrowSchema"),
    ("FFI_ArrowArrayStream", "struct ArrowArrayStream"),
];

/// The header that the sources make.
fn made(root: &Path) -> Result<String, String> {
    let sources = root.join("capi/src");
    let config = Config {
        language: Language::C,
        cpp_compat: true,
        header: Some(PREFACE.into()),
        include_guard: Some("FARETRA_H".into()),
        after_includes: Some(ARROW.into()),
        no_includes: true,
        sys_includes: ["stddef.h", "stdint.h"].map(String::from).into(),
        style: Style::Type,
        line_length: 110,
        line_endings: LineEndingStyle::LF,
        usize_is_size_t: true,
        documentation_length: DocumentationLength::Full,
        export: ExportConfig {
            rename: RENAMED.map(|(from, to)| (from.to_owned(), to.to_owned())).into(),
            exclude: RENAMED.map(|(from, _)| from.to_owned()).into(),
            ..Default::default()
        },
        enumeration: EnumConfig::default(),
        ..Default::default()
    };
    let mut builder = Builder::new().with_config(config);
    for file in ["border"].iter().chain(&CHAPTERS) {
        builder = builder.with_src(sources.join(file).with_extension("rs"));
    }
    let bindings = builder.generate().map_err(|error| format!("cbindgen: {error}"))?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let mut header = String::from_utf8(text).map_err(|error| error.to_string())?;
    // A handle is not changed by who has it, which says nothing in C.
    for name in handles(&header) {
        header = header.replace(&format!("const {name} *"), &format!("{name} *"));
    }
    header = header.replace("const char * ", "const char *");
    header = without_aliases(&header);
    for chapter in CHAPTERS {
        let source = std::fs::read_to_string(sources.join(chapter).with_extension("rs"));
        header = with_chapter(&header, &source.map_err(|error| format!("{chapter}.rs: {error}"))?)?;
    }
    Ok(header)
}

/// The header without the names that the sources have for pointers to places of results, and with negative numbers in parentheses.
fn without_aliases(header: &str) -> String {
    let mut parts: Vec<&str> = header.split("\n\n").collect();
    let mut aliases = Vec::new();
    parts.retain(|part| {
        let alias = part.rsplit('\n').next().and_then(|line| {
            let (target, name) = line.strip_prefix("typedef ")?.strip_suffix(';')?.rsplit_once(' ')?;
            let (stars, name) = name.split_at(name.find(|c| c != '*')?);
            (name.starts_with("Out_") || name.starts_with("New_"))
                .then(|| (format!("{name} "), format!("{target} {stars}")))
        });
        let kept = alias.is_none();
        aliases.extend(alias);
        kept
    });
    let mut header = parts.join("\n\n");
    // The longer names first, as one may begin another; twice, as an alias may be of an alias.
    aliases.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, target) in aliases.iter().chain(&aliases) {
        let target = if target.ends_with('*') { target.clone() } else { format!("{} ", target.trim_end()) };
        header = header.replace(name, &target);
    }
    let lines = header.split('\n').map(|line| match line.rsplit_once(" -") {
        Some((define, number)) if define.starts_with("#define ") => format!("{define} (-{number})"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The types that C does not see into.
fn handles(header: &str) -> Vec<String> {
    let names = header.lines().filter_map(|line| {
        let (name, again) = line.strip_prefix("typedef struct ")?.strip_suffix(';')?.split_once(' ')?;
        (name == again).then(|| name.to_owned())
    });
    names.collect()
}

/// The header with the words at a source's head before the source's first function.
fn with_chapter(header: &str, source: &str) -> Result<String, String> {
    let words = source.lines().map_while(|line| line.strip_prefix("//!"));
    let words: Vec<String> = words.map(|line| format!(" *{line}").trim_end().to_owned()).collect();
    let first = source.split("pub extern \"C\" fn ").nth(1).and_then(|rest| rest.split('(').next());
    let first = first.ok_or("a source without a function")?;
    let call = header.rfind(&format!("{first}(")).ok_or_else(|| format!("the header has no {first}"))?;
    // Where the function's documentation begins.
    let place = header[..call].rfind("/**").ok_or_else(|| format!("{first} has no documentation"))?;
    let line = format!(" * {}", "-".repeat(100));
    Ok(format!("{}/*\n{line}\n{}\n{line}\n */\n\n{}", &header[..place], words.join("\n"), &header[place..]))
}

/// Whether the committed header is the one that the sources make.
pub fn check(root: &Path) -> Result<(), String> {
    let committed = std::fs::read_to_string(file(root)).unwrap_or_default();
    match made(root)? == committed {
        true => Ok(()),
        false => Err(format!("{FILE} is not what the sources make: `cargo xtask header --write` writes it anew")),
    }
}

/// Writes the header anew.
pub fn write(root: &Path) -> Result<(), String> {
    let (file, text) = (file(root), made(root)?);
    let folder = file.parent().unwrap_or(root);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|error| format!("{FILE}: {error}"))
}

fn file(root: &Path) -> PathBuf {
    root.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed header is the one that the sources make, and a changed source would be seen.
    #[test]
    fn the_header_is_what_the_sources_make() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        check(root).unwrap();
        let header = std::fs::read_to_string(file(root)).unwrap();
        let functions = header.matches("\nfaretra_code faretra_").count() + header.matches("\nvoid faretra_").count();
        assert!(functions > 60, "only {functions} functions in the header");
        assert!(handles(&header).contains(&"faretra_arena".to_owned()));
        assert!(!header.contains("const faretra_arena *") && !header.contains("Text"));
    }

    /// A chapter's words stand before the documentation of its first function.
    #[test]
    fn chapters_stand_before_their_functions() {
        let source = "//! Words.\n//!\n//! More.\n\npub extern \"C\" fn faretra_one() {}\n";
        let header = "/**\n * Zero.\n */\nvoid faretra_zero();\n\n/**\n * One.\n */\nvoid faretra_one();\n";
        let with = with_chapter(header, source).unwrap();
        let places = ["faretra_zero", " * Words.\n *\n * More.\n", " * One.", "faretra_one"]
            .map(|part| with.find(part).unwrap());
        assert!(places.is_sorted(), "{with}");
        assert!(with_chapter("", source).is_err() && with_chapter(header, "//! None.").is_err());
    }
}
