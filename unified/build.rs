//! Does nothing. Without it cargo would not look at the dependencies that programs of the build have.

fn main() {}
