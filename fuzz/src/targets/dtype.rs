//! The text that says which type an array's elements have: what is read is what is written, and is read again.

use faretra::{DType, DTypeKind, DynArrayView, Order};

/// What such texts have in them.
pub const WORDS: &[&[u8]] = &[
    b"'<f8'",
    b"'|S1'",
    b"'<U0'",
    b"'>M8[25us]'",
    b"[('",
    b"', '",
    b"')]",
    b"(2, 3)",
    b"'names': ",
    b"'formats': ",
    b"'offsets': ",
    b"'itemsize': ",
    b"'titles': ",
    b"[",
    b"]",
    b"(",
    b")",
    b"{",
    b"}",
    b"\\x00",
    b"\\u00e9",
    b"'",
    b"\"",
    b"True",
    b"False",
    b"'descr': ",
    b"'fortran_order': ",
    b"'shape': ",
    b"2147483647",
    b"4294967296",
];

/// Parses, prints and parses again.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let dtype: DType = match text.parse::<DType>() {
        Ok(dtype) => dtype,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let descr = dtype.descr();
    let again: DType = descr.parse().unwrap_or_else(|error| panic!("{text:?} is {descr:?}, which is refused: {error}"));
    assert_eq!(again, dtype, "{text:?} is {descr:?}, which is another type");
    assert_eq!(again.descr(), descr);
    // As an element type it can be part of a larger one, or is refused.
    if let Ok(pair) = DType::array(dtype.clone(), &[2]) {
        let pair_descr = pair.descr();
        // Longer texts than are read are possible only here.
        if let Ok(read) = pair_descr.parse::<DType>() {
            assert_eq!(read, pair);
        }
    }
    assert!(dtype.alignment().is_power_of_two() && !dtype.to_string().is_empty(), "{descr}");
    let _ = (dtype.kind(), dtype.byte_order(), dtype.element(), dtype.is_known_to_numpy(), dtype.is_sequential());
    // The axes of sub-arrays are an array's own: there is no array of them.
    if dtype.itemsize() <= 4096 && !matches!(dtype.kind(), DTypeKind::Array(..)) {
        let view = DynArrayView::from_bytes(dtype.clone(), &[1], Order::C, vec![0; dtype.itemsize()]);
        view.unwrap_or_else(|error| panic!("one element of {descr} out of its bytes: {error}"));
    }
}
