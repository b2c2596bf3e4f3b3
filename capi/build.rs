//! The name by which programs find the library when they start: `libfaretra.so.0`, and not that of the crate's file.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libfaretra.so.0");
}
