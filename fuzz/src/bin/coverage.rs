//! Fuzzing with libFuzzer, which looks at what the code does: `cargo xtask fuzz --coverage` builds it with `--cfg fuzzing` and runs it.
//! Built without, it says so.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod with_libfuzzer {
    use std::sync::OnceLock;

    use faretra_fuzz::targets::{Target, find};
    use libfuzzer_sys::fuzz_target;

    fn target() -> &'static Target {
        static TARGET: OnceLock<&'static Target> = OnceLock::new();
        TARGET.get_or_init(|| {
            let name = std::env::var("FARETRA_FUZZ_TARGET").expect("FARETRA_FUZZ_TARGET names a target");
            find(&name).unwrap_or_else(|| panic!("there is no target `{name}`"))
        })
    }

    fuzz_target!(|bytes: &[u8]| (target().run)(bytes));
}

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("coverage: built without libFuzzer; `cargo xtask fuzz --coverage` builds it with");
    std::process::exit(1);
}
