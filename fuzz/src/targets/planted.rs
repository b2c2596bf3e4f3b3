//! Faults that were planted, behind a byte that mutation finds soon. They show that a driver notices.

use std::time::Duration;

fn reached(bytes: &[u8]) -> bool {
    bytes.contains(&b'!')
}

pub fn panics(bytes: &[u8]) {
    assert!(!reached(bytes), "planted: a panic");
}

pub fn aborts(bytes: &[u8]) {
    if reached(bytes) {
        std::process::abort();
    }
}

pub fn hangs(bytes: &[u8]) {
    while reached(bytes) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn allocates(bytes: &[u8]) {
    if reached(bytes) {
        std::hint::black_box(vec![1_u8; 8 << 30]);
    }
}
