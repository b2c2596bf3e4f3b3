//! Arrays of every type that numpy has: what numpy wrote comes out of an export byte for byte, and is printed as numpy means
//! it.

use crate::support::Lab;

/// A file as numpy 2.4 wrote it.
struct Numpy {
    version: u8,
    /// Of the header with its padding.
    length: usize,
    header: &'static str,
    /// The elements, in hexadecimal.
    data: &'static str,
    /// What `cat` prints.
    json: &'static str,
}

#[rustfmt::skip]
const NUMPY: &[Numpy] = &[
    Numpy { version: 1, length: 182, header: "{'descr': [('id', '<i4'), ('p', [('x', '>f4'), ('y', '<f2')], (2,)), ('s', '|S3'), ('größe', '<U2')], 'fortran_order': False, 'shape': (2,), }", data: "010000003fc000000038400000000038616200e900000000000000feffffff40400000003840800000003878797ae56500002c670000", json: r#"[{"id":1,"p":[{"x":1.5,"y":0.5},{"x":2,"y":0.5}],"s":"ab","größe":"é"},{"id":-2,"p":[{"x":3,"y":0.5},{"x":4,"y":0.5}],"s":"xyz","größe":"日本"}]"# },
    Numpy { version: 1, length: 182, header: "{'descr': [('a', '|u1'), ('', '|V7'), ('b', '<f8'), ('c', '|b1'), ('', '|V7')], 'fortran_order': False, 'shape': (2,), }", data: "0100000000000000000000000000e03f010000000000000002000000000000009c7500883ce4377e0000000000000000", json: r#"[{"a":1,"b":0.5,"c":true},{"a":2,"b":1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000,"c":false}]"# },
    Numpy { version: 1, length: 118, header: "{'descr': '<U6', 'fortran_order': False, 'shape': (2,), }", data: "4f000000730000006c0000006f00000000000000000000005a000000fc00000072000000690000006300000068000000", json: r#"["Oslo","Zürich"]"# },
    Numpy { version: 1, length: 118, header: "{'descr': '>U2', 'fortran_order': False, 'shape': (1, 2), }", data: "000000610000000000000062000065e5", json: r#"[["a","b日"]]"# },
    Numpy { version: 1, length: 118, header: "{'descr': '|S3', 'fortran_order': False, 'shape': (2,), }", data: "616200ff0000", json: r#"["ab","\\xff"]"# },
    Numpy { version: 1, length: 118, header: "{'descr': '<M8[D]', 'fortran_order': False, 'shape': (3,), }", data: "91470000000000000000000000000080ffffffffffffffff", json: r#"["2020-02-29",null,"1969-12-31"]"# },
    Numpy { version: 1, length: 118, header: "{'descr': '>M8[ns]', 'fortran_order': False, 'shape': (1,), }", data: "15f7b9d60ad6ae04", json: r#"["2020-02-29T01:02:03.000000004"]"# },
    Numpy { version: 1, length: 118, header: "{'descr': '<m8[25s]', 'fortran_order': False, 'shape': (2,), }", data: "0300000000000000ffffffffffffffff", json: "[75,-25]" },
    Numpy { version: 1, length: 118, header: "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }", data: "000100040002000500030006", json: "[[1,2,3],[4,5,6]]" },
    Numpy { version: 1, length: 118, header: "{'descr': '>c16', 'fortran_order': False, 'shape': (2,), }", data: "3ff0000000000000c00000000000000000000000000000003fe0000000000000", json: "[[1,-2],[0,0.5]]" },
    Numpy { version: 1, length: 118, header: "{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", data: "0100", json: "[true,false]" },
    Numpy { version: 1, length: 118, header: "{'descr': '<f8', 'fortran_order': False, 'shape': (), }", data: "0000000000001e40", json: "7.5" },
    Numpy { version: 1, length: 118, header: "{'descr': '<U4', 'fortran_order': False, 'shape': (0, 3), }", data: "", json: "[]" },
    Numpy { version: 1, length: 118, header: r#"{'descr': [('a b', '|u1'), ("it's", '<u2')], 'fortran_order': False, 'shape': (1,), }"#, data: "010200", json: r#"[{"a b":1,"it's":2}]"# },
    Numpy { version: 1, length: 118, header: "{'descr': '|V4', 'fortran_order': False, 'shape': (2,), }", data: "0001020304050607", json: r#"["0x00010203","0x04050607"]"# },
    Numpy { version: 3, length: 116, header: "{'descr': [('日', '|u1')], 'fortran_order': False, 'shape': (1,), }", data: "01", json: r#"[{"日":1}]"# },
];

impl Numpy {
    fn bytes(&self) -> Vec<u8> {
        let data =
            self.data.as_bytes().chunks(2).map(|hex| u8::from_str_radix(str::from_utf8(hex).unwrap(), 16).unwrap());
        [npy_of_length(self.version, self.length, self.header), data.collect()].concat()
    }
}

/// A header of so many bytes.
fn npy_of_length(version: u8, length: usize, header: &str) -> Vec<u8> {
    let mut text: Vec<u8> = match version {
        3 => header.as_bytes().to_vec(),
        _ => header.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
    };
    text.resize(length - 1, b' ');
    text.push(b'\n');
    let length = (length as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", &[version, 0][..], length, &text].concat()
}

/// A file of numbers as numpy writes it, whose header takes 128 bytes.
fn npy(descr: &str, fortran: bool, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let shape = match shape {
        [n] => format!("({n},)"),
        _ => format!("{shape:?}").replace('[', "(").replace(']', ")"),
    };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    [npy_of_length(1, 118, &header), data.to_vec()].concat()
}

/// Puts a file, exports it, and tells whether every byte came back.
fn comes_back(lab: &Lab, bytes: &[u8]) -> bool {
    lab.ok(["put", "a", "x", &lab.write("in.npy", bytes)]);
    lab.ok(["export", "a", "x", &lab.file("out.npy"), "--force"]);
    std::fs::read(lab.path("out.npy")).unwrap() == bytes
}

/// Records, text, times, numbers in either order of bytes, and what else numpy has.
#[test]
fn what_numpy_wrote_comes_back_byte_for_byte() {
    let lab = Lab::with_arena();
    for file in NUMPY {
        assert!(comes_back(&lab, &file.bytes()), "{}", file.header);
        assert_eq!(lab.ok(["cat", "a", "x", "--format", "json"]).trim(), file.json, "{}", file.header);
        assert!(lab.ok(["cat", "a", "x"]).contains(" array of shape "), "{}", file.header);
        assert_eq!(lab.json(["verify", "a"])["clean"], true);
    }
}

/// A table of records has a column for each field, and what is no number is quoted where it must be.
#[test]
fn records_are_printed_as_tables() {
    let lab = Lab::with_arena();
    lab.ok(["put", "a", "x", &lab.write("in.npy", NUMPY[0].bytes())]);
    let csv = "id,p,s,größe\n\
        1,\"[{\"\"x\"\":1.5,\"\"y\"\":0.5},{\"\"x\"\":2,\"\"y\"\":0.5}]\",ab,é\n\
        -2,\"[{\"\"x\"\":3,\"\"y\"\":0.5},{\"\"x\"\":4,\"\"y\"\":0.5}]\",xyz,日本\n";
    assert_eq!(lab.ok(["cat", "a", "x", "--format", "csv"]), csv);
    let text = lab.ok(["cat", "a", "x", "--head", "1"]);
    let first = "[(1, [(1.5, 0.5), (2, 0.5)], \"ab\", \"é\")]\n[('id', '<i4'),";
    assert!(text.starts_with(first) && text.ends_with("array of shape [2]\n"), "{text}");
}

/// A header with more fields than fit in 64 KiB needs the second version of the format.
#[test]
fn long_headers_come_back() {
    let lab = Lab::with_arena();
    let fields: Vec<String> = (0..3000).map(|i| format!("('f{i:04}', '|u1')")).collect();
    let shape = "'fortran_order': False, 'shape': (1,), }";
    let header = format!("{{'descr': [{}], {shape}", fields.join(", "));
    let length = (12 + header.len() + 20 + 1_usize).next_multiple_of(64) - 12;
    let short = length < 1 << 16;
    let length = if short { (10 + header.len() + 21).next_multiple_of(64) - 10 } else { length };
    let file = [npy_of_length(if short { 1 } else { 2 }, length, &header), vec![7; 3000]].concat();
    assert!(comes_back(&lab, &file));
    let more: Vec<String> = (0..4000).map(|i| format!("('f{i:04}', '|u1')")).collect();
    let header = format!("{{'descr': [{}], {shape}", more.join(", "));
    let file = [npy_of_length(2, header.len() + 64, &header), vec![7; 4000]].concat();
    let line = lab.fails(1, ["put", "a", "x", &lab.write("in.npy", file)]);
    assert!(line.contains("65536") || line.contains("66560"), "{line}");
}

/// Many elements: the middle is left out, as ndarray does it.
#[test]
fn many_elements_are_shortened() {
    let lab = Lab::with_arena();
    let data: Vec<u8> = (0..600_u16).flat_map(u16::to_be_bytes).collect();
    lab.ok(["put", "a", "x", &lab.write("in.npy", npy(">u2", false, &[600], &data))]);
    let expected = "[0, 1, 2, 3, 4, ..., 595, 596, 597, 598, 599]\n>u2 array of shape [600]\n";
    assert_eq!(lab.ok(["cat", "a", "x"]), expected);
    lab.ok(["put", "a", "x", &lab.write("in.npy", npy(">u2", true, &[2, 300], &data))]);
    let expected = "[[0, 2, 4, 6, 8, ..., 590, 592, 594, 596, 598],\n [1, 3, 5, 7, 9, ..., 591, 593, 595, 597, 599]]\n\
        >u2 array of shape [2, 300]\n";
    assert_eq!(lab.ok(["cat", "a", "x"]), expected);
    lab.ok(["put", "a", "x", &lab.write("in.npy", npy("|u1", false, &[2, 1, 2], &[1, 2, 3, 4]))]);
    assert_eq!(lab.ok(["cat", "a", "x"]), "[[[1, 2]],\n\n [[3, 4]]]\nu8 array of shape [2, 1, 2]\n");
    lab.ok(["put", "a", "x", &lab.write("in.npy", npy("|u1", false, &[2, 0], &[]))]);
    assert_eq!(lab.ok(["cat", "a", "x"]), "[[]]\nu8 array of shape [2, 0]\n");
}

#[test]
fn arrays_come_back_byte_for_byte() {
    let lab = Lab::with_arena();
    let types = [
        ("|u1", 1),
        ("<u2", 2),
        ("<u4", 4),
        ("<u8", 8),
        ("|i1", 1),
        ("<i2", 2),
        ("<i4", 4),
        ("<i8", 8),
        ("<f2", 2),
        ("<f4", 4),
        ("<f8", 8),
        ("<c8", 8),
        ("<c16", 16),
        ("|b1", 1),
    ];
    for (descr, size) in types {
        for (fortran, shape) in [(false, &[3, 4][..]), (true, &[2, 3, 4]), (false, &[12])] {
            let elements: usize = shape.iter().product();
            let data = (0..elements * size).map(|byte| match descr {
                "|b1" => (byte % 3 == 0) as u8,
                _ => (byte * 37 % 251) as u8,
            });
            let bytes = npy(descr, fortran, shape, &data.collect::<Vec<_>>());
            assert!(comes_back(&lab, &bytes), "{descr} {shape:?} fortran {fortran}");
        }
    }
}

#[test]
fn arrays_without_elements_or_axes_and_of_the_other_byte_order_are_read() {
    let lab = Lab::with_arena();
    let seven = 7.0f64.to_le_bytes();
    for bytes in [npy("<f8", false, &[0, 3], &[]), npy("<f8", false, &[], &seven)] {
        assert!(comes_back(&lab, &bytes));
    }
    let big: Vec<u8> = (1..=3i32).flat_map(i32::to_be_bytes).collect();
    let file = lab.write("big.npy", npy(">i4", false, &[3], &big));
    lab.ok(["put", "a", "big", &file]);
    assert_eq!(lab.ok(["cat", "a", "big", "--format", "json"]).trim(), "[1,2,3]");
    let pairs: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_be_bytes()).collect();
    let file = lab.write("pairs.npy", npy(">c8", false, &[2], &pairs));
    lab.ok(["put", "a", "pairs", &file]);
    assert_eq!(lab.ok(["cat", "a", "pairs", "--format", "json"]).trim(), "[[1,2],[3,4]]");
}
