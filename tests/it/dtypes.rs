//! Shows that arrays of every type that numpy has go in and come out, in any order and stride, and that a reader's struct is
//! matched against what is stored.
#![allow(unsafe_code, reason = "says that structs are plain, as the derives of `bytemuck` do")]

use faretra::bytemuck::{self, Pod, Zeroable};
use faretra::{
    Array, ArrayElement, DType, DTypeField, DynArray, DynArrayDraft, DynArrayView, Element, ElementType, Error, GIB,
    Kind, MAX_DTYPE_TEXT, MIB, Order, Value,
};
use ndarray::{Array2, Ix0, Ix1, Ix2, IxDyn, arr0, arr1, s};

use crate::obey::{end_of, forked};
use crate::support::TestArena;
use crate::values::Random;

/// One of each kind, and what numpy writes for it.
const TYPES: &[&str] = &[
    "|b1",
    "|u1",
    ">u2",
    "<i4",
    "<i16",
    ">f2",
    "<f8",
    "<f16",
    ">c8",
    "<c32",
    "<M8[ns]",
    ">m8[25s]",
    "<M8",
    "|S5",
    "<U3",
    ">U1",
    "|V7",
    "[('a', '|b1'), ('', '|V3'), ('p', [('x', '<f4'), ('y', '>f4')], (2,)), ('s', '|S3'), ('größe', '<U2')]",
    "{'names': ['whole', 'low'], 'formats': ['<u4', '<u2'], 'offsets': [0, 0], 'itemsize': 4}",
];

const SHAPES: &[&[usize]] = &[&[], &[0], &[7], &[3, 4], &[2, 0, 3], &[2, 3, 4], &[1, 5, 1]];

fn parse(text: &str) -> DType {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Bytes that are values of every type, also of `bool`.
fn some_bytes(random: &mut Random, len: usize, dtype: &DType) -> Vec<u8> {
    let most = if *dtype == ElementType::Bool { 2 } else { 256 };
    (0..len).map(|_| random.below(most) as u8).collect()
}

fn assert_is(array: &DynArray, dtype: &DType, shape: &[usize], order: Order, bytes: &[u8]) {
    assert_eq!((array.dtype(), array.shape(), array.order()), (dtype, shape, order));
    assert_eq!(array.bytes(), bytes, "{dtype} {shape:?}");
    assert_eq!(array.len(), shape.iter().product::<usize>());
    assert_eq!((array.is_empty(), array.nbytes()), (bytes.is_empty(), bytes.len() as u64));
    assert!(bytes.is_empty() || array.bytes().as_ptr().addr().is_multiple_of(64));
}

/// Bytes that are published as any type come back, to another process too, and so do those written in place.
#[test]
fn every_type_shape_and_order_comes_back() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let mut random = Random(1);
    for text in TYPES {
        let dtype = parse(text);
        for shape in SHAPES {
            for order in [Order::C, Order::Fortran] {
                let len = shape.iter().product::<usize>() * dtype.itemsize();
                let bytes = some_bytes(&mut random, len, &dtype);
                let view = DynArrayView::from_bytes(dtype.clone(), shape, order, &bytes).expect("its bytes");
                w.publish("n", view).expect("room");
                let object = t.arena.get("n").expect("published");
                assert_eq!((object.kind(), object.rows()), (Kind::Array, shape.iter().product::<usize>() as u64));
                assert_is(&object.dyn_array().expect("an array"), &dtype, shape, order, &bytes);
                assert_eq!(object.array_info().expect("an array").dtype, dtype);

                let mut draft = w.draft_dyn_array(dtype.clone(), shape, order).expect("room");
                assert_eq!(draft.bytes_mut().expect("memory").len(), len);
                assert_eq!((&draft.info().dtype, &draft.info().shape[..]), (&dtype, *shape));
                draft.bytes_mut().expect("memory").copy_from_slice(&bytes);
                let version = w.publish("drafted", draft).expect("room");
                let drafted = t.open().dyn_array("drafted").expect("published");
                assert_is(&drafted, &dtype, shape, order, &bytes);
                // What was read is published again.
                assert_eq!(w.publish("drafted", &drafted).expect("room"), version + 1);
                assert_is(&t.arena.dyn_array("drafted").expect("published"), &dtype, shape, order, &bytes);
            }
        }
        let child = forked(|| match t.open().dyn_array("n") {
            Ok(array) => i32::from(array.dtype().to_string() != *text),
            Err(_) => 2,
        });
        let end = end_of(child);
        assert!(end.starts_with("Exited(") && end.ends_with(", 0)"), "{text}: {end}");
    }
    assert_eq!(t.arena.verify_deep().expect("verify"), []);
    for name in ["n", "drafted"] {
        w.remove(name).expect("remove");
    }
    drop(w);
    t.assert_sound(0);
}

/// Strides of any sign are gathered as numpy would, and none reaches out of the bytes.
#[test]
fn strides_are_gathered() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let bytes: Vec<u8> = (0..=255).collect();
    let published = |dtype: &str, shape: &[usize], strides: &[isize], first| {
        let view = DynArrayView::from_strides(parse(dtype), shape, strides, first, &bytes)?;
        w.publish("n", view)?;
        t.arena.dyn_array("n")
    };
    for (dtype, shape, strides, first, order, expected) in [
        ("|u1", &[3][..], &[-2][..], 5, Order::C, vec![5, 3, 1]),
        ("|u1", &[2, 3], &[3, 1], 10, Order::C, vec![10, 11, 12, 13, 14, 15]),
        ("|u1", &[2, 3], &[1, 2], 10, Order::Fortran, vec![10, 11, 12, 13, 14, 15]),
        ("|u1", &[2, 3], &[10, 1], 0, Order::C, vec![0, 1, 2, 10, 11, 12]),
        ("|u1", &[2, 3], &[0, 0], 9, Order::C, vec![9; 6]),
        ("<u2", &[2, 2], &[-4, 2], 4, Order::C, vec![4, 5, 6, 7, 0, 1, 2, 3]),
        ("|V3", &[2, 2], &[1, 7], 0, Order::C, vec![0, 1, 2, 7, 8, 9, 1, 2, 3, 8, 9, 10]),
        (">u4", &[1, 2], &[999, 5], 0, Order::C, vec![0, 1, 2, 3, 5, 6, 7, 8]),
        (">u4", &[1, 2], &[-999, 4], 0, Order::C, vec![0, 1, 2, 3, 4, 5, 6, 7]),
        ("<f8", &[], &[], 248, Order::C, (248..=255).collect()),
        ("<f8", &[0, 9], &[8, 1 << 40], 0, Order::C, vec![]),
        ("|u1", &[2, 2, 2], &[100, 10, 1], 44, Order::C, vec![44, 45, 54, 55, 144, 145, 154, 155]),
    ] {
        let array =
            published(dtype, shape, strides, first).unwrap_or_else(|error| panic!("{dtype} {shape:?}: {error}"));
        assert_is(&array, &parse(dtype), shape, order, &expected);
    }
    for (dtype, shape, strides, first, why) in [
        ("|u1", &[3][..], &[-2][..], 3, "from byte -1 to 4"),
        ("|u1", &[2], &[1], 255, "from byte 255 to 257 of 256"),
        ("<f8", &[], &[], 249, "to 257"),
        ("|u1", &[2, 2], &[1], 0, "2 axes has as many strides, 1"),
        ("|u1", &[2, 2], &[isize::MAX, isize::MAX], 0, "to 18446744073709551615"),
        ("|u1", &[2, 2], &[isize::MIN, isize::MIN], 0, "from byte -18446744073709551616"),
        ("|u1", &[usize::MAX, 2], &[0, 0], 0, "larger than memory"),
    ] {
        let error = published(dtype, shape, strides, first).expect_err(why);
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(why), "{error}");
    }
    // Against ndarray, at random.
    let mut random = Random(2);
    let source = Array2::from_shape_fn((9, 11), |(i, j)| (100 * i + j) as i32);
    for _ in 0..200 {
        let step = |random: &mut Random| [1, 2, 3, -1, -2][random.below(5) as usize];
        let (from, to) = (random.below(5) as isize, 6 + random.below(4) as isize);
        let mut view = source.slice(s![from..;step(&mut random), ..to;step(&mut random)]);
        if random.below(2) == 0 {
            view.swap_axes(0, 1);
        }
        let strides: Vec<isize> = view.strides().iter().map(|stride| stride * 4).collect();
        let first = if view.is_empty() { 0 } else { view.as_ptr().addr() - source.as_ptr().addr() };
        let all: &[u8] = bytemuck::cast_slice(source.as_slice().expect("contiguous"));
        w.publish("n", DynArrayView::from_strides(i32::dtype(), view.shape(), &strides, first, all).expect("inside"))
            .expect("room");
        assert_eq!(t.arena.array::<i32, Ix2>("n").expect("typed").view(), view);
    }
}

/// What there cannot be is refused with its numbers, and nothing is published.
#[test]
fn what_cannot_be_is_refused() {
    let t = TestArena::with(|o| o.limit(16 * MIB).capacity(64 * GIB));
    let w = t.arena.writer().expect("a permit");
    let of = |dtype: DType, shape: &[usize], len: usize| {
        let view = DynArrayView::from_bytes(dtype, shape, Order::C, vec![7_u8; len])?;
        w.publish("n", view)
    };
    let many = |n: usize| {
        let field = |i| DTypeField { name: format!("{i:040}"), offset: i, dtype: parse("|u1") };
        DType::record(n, (0..n).map(field).collect()).expect("a record")
    };
    for (result, why) in [
        (of(parse("<f8"), &[2], 15), "16 bytes, 15 were given"),
        (of(parse("<f8"), &[1 << 62], 0), "larger than memory"),
        (of(parse("<U4"), &[1 << 31, 1 << 31], 0), "[2147483648, 2147483648] and type <U4"),
        (of(parse("<U4"), &[0, 1 << 31, 1 << 31], 0), "larger than memory"),
        (of(parse("<f8"), &[1; 33], 8), "33"),
        (of(parse("('<f8', (2,))"), &[1], 16), "last axes"),
        (of(parse("|b1"), &[2], 2), "element 0 of an array of bool is 7, not 0 or 1"),
        (of(many(2000), &[1], 2000), "65536"),
        (w.publish("n", arr1(&[[1_u8; 3]; 2])), "last axes"),
        (w.publish("n", arr1(&[[1_u8; 0]; 2])), "0 bytes"),
        (w.draft_dyn_array(parse("<f8"), &[1 << 61], Order::C).map(|_| 0), "larger than memory"),
        (w.draft_dyn_array(parse("<f8"), &[1 << 30], Order::C).map(|_| 0), "no room for 8589938688 bytes"),
        (w.draft_bytes(usize::MAX).map(|_| 0), "18446744073709551615"),
    ] {
        let error = result.expect_err(why);
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    let mut draft: DynArrayDraft = w.draft_dyn_array(bool::TYPE, &[3], Order::C).expect("room");
    assert_eq!(draft.bytes_mut().expect("memory"), [0; 3]);
    draft.bytes_mut().expect("memory")[1] = 2;
    let error = w.publish("n", draft).expect_err("no bool");
    assert!(error.to_string().contains("element 1 of an array of bool is 2"), "{error}");
    assert!(many(1000).to_string().len() < MAX_DTYPE_TEXT);
    of(many(1000), &[1], 1000).expect("fewer fields");
    assert_eq!(t.arena.dyn_array("n").expect("published").dtype(), &many(1000));
    assert!(w.remove("n").expect("remove"));
    drop(w);
    t.assert_sound(0);
}

/// Typed arrays and those of run-time types are the same objects.
#[test]
fn typed_arrays_are_a_special_case() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    w.publish("typed", arr1(&[1.5_f32, 2.5])).expect("room");
    let array = t.arena.dyn_array("typed").expect("an array");
    assert_eq!((array.dtype().to_string(), array.dtype()), ("<f4".into(), &f32::dtype()));
    w.publish("dyn", DynArrayView::from_bytes(parse("<f4"), &[2], Order::C, array.bytes()).expect("bytes"))
        .expect("room");
    assert_eq!(t.arena.array::<f32, Ix1>("dyn").expect("typed").to_vec(), [1.5, 2.5]);
    let (typed, made) = (t.arena.get("typed").expect("it"), t.arena.get("dyn").expect("it"));
    assert_eq!((typed.nbytes(), typed.rows()), (made.nbytes(), made.rows()));
    // Views outlive the object's handle, and errors name it.
    let view: Array<f32, IxDyn> = array.view().expect("f32");
    drop((array, typed, made));
    w.publish("typed", Value::from(&arr0(1_u8))).expect("room");
    assert_eq!(view.sum(), 4.0);
    let error = t.arena.dyn_array("typed").expect("an array").view::<u8, Ix1>().expect_err("no axes");
    assert_eq!(error.to_string(), "`typed` is an array of u8, 0 axes (shape []), not an array of u8, 1 axis");
    assert_eq!(t.arena.array::<u8, Ix0>("typed").expect("typed")[()], 1);
    assert!(matches!(t.arena.get("typed").expect("it").private().expect("an array")[..], [1]));
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Tick {
    at: i64,
    price: f64,
    size: u32,
    code: [u8; 4],
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Price {
    _at: u64,
    price: f64,
    _rest: u64,
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        // SAFETY: a `repr(C)` struct of numbers and arrays of them.
        unsafe impl Zeroable for $type {}
        // SAFETY: as above, without padding, for which any bytes are a value.
        unsafe impl Pod for $type {}
    )*};
}

plain!(Tick, Price, Pairs);
faretra::array_element!(Tick { at, price, size, code });
faretra::array_element!(Price { price });

/// A struct reads records that have its fields at its offsets, whoever wrote them; text, bytes and times as what they are.
#[test]
fn structs_match_what_is_stored() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let ticks =
        [Tick { at: 1, price: 2.5, size: 3, code: *b"ab\0\0" }, Tick { at: -4, price: 5.5, size: 6, code: *b"cdef" }];
    w.publish("ticks", arr1(&ticks)).expect("room");
    assert_eq!(
        t.arena.dyn_array("ticks").expect("an array").dtype().to_string(),
        "[('at', '<i8'), ('price', '<f8'), ('size', '<u4'), ('code', '|u1', (4,))]"
    );
    let bytes: &[u8] = bytemuck::cast_slice(&ticks);
    // As numpy has them: a time, and bytes of a fixed width; the fields in another order of declaration.
    for text in [
        "[('at', '<M8[ns]'), ('price', '<f8'), ('size', '<u4'), ('code', '|S4')]",
        "{'names': ['code', 'size', 'price', 'at'], 'formats': ['|V4', '<u4', '<f8', '<m8[s]'], 'offsets': [20, 16, 8, 0], \
         'itemsize': 24}",
    ] {
        w.publish("dyn", DynArrayView::from_bytes(parse(text), &[2], Order::C, bytes).expect("bytes")).expect("room");
        assert_eq!(t.arena.array::<Tick, Ix1>("dyn").expect("ticks").to_vec(), ticks);
        let prices = t.arena.array::<Price, Ix1>("dyn").expect("ticks");
        assert_eq!(prices.iter().map(|price| price.price).sum::<f64>(), 8.0);
    }
    for (text, size) in [
        ("[('at', '<i8'), ('price', '<f8'), ('size', '<u4')]", 20),
        ("[('at', '<i8'), ('price', '<f8'), ('size', '<u4'), ('', '|V4')]", 24),
        ("[('at', '<i8'), ('price', '>f8'), ('size', '<u4'), ('code', '|S4')]", 24),
        ("[('at', '<i8'), ('prize', '<f8'), ('size', '<u4'), ('code', '|S4')]", 24),
        ("[('price', '<f8'), ('at', '<i8'), ('size', '<u4'), ('code', '|S4')]", 24),
        ("[('at', '<f8'), ('price', '<f8'), ('size', '<u4'), ('code', '|S4')]", 24),
        ("[('at', '<i8'), ('price', '<f8'), ('size', '<u4'), ('code', '|S3'), ('', '|V1')]", 24),
        ("|V24", 24),
    ] {
        let view = DynArrayView::from_bytes(parse(text), &[1], Order::C, vec![0; size]).expect("bytes");
        w.publish("dyn", view).expect("room");
        let error = t.arena.array::<Tick, Ix1>("dyn").expect_err(text);
        assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains(text), "{error}");
    }
    let publish = |text: &str, bytes: &[u8]| {
        let dtype = parse(text);
        let n = bytes.len() / dtype.itemsize();
        w.publish("dyn", DynArrayView::from_bytes(dtype, &[n], Order::C, bytes).expect("bytes")).expect("room");
        t.arena.dyn_array("dyn").expect("an array")
    };
    assert_eq!(publish("|S3", b"abcde\0").view::<[u8; 3], Ix1>().expect("bytes")[1], *b"de\0");
    assert_eq!(publish("<U2", &[b'a', 0, 0, 0, 0, 0, 0, 0]).view::<[u32; 2], Ix1>().expect("text")[0], [97, 0]);
    assert_eq!(publish("<M8[D]", &7_i64.to_le_bytes()).view::<i64, Ix1>().expect("a time")[0], 7);
    assert!(publish(">U2", &[0; 8]).view::<[u32; 2], Ix1>().is_err());
    assert!(publish(">M8[D]", &[0; 8]).view::<i64, Ix1>().is_err());
    assert!(publish(">f8", &[0; 8]).view::<f64, Ix1>().is_err());
    assert!(publish("<f8", &[0; 8]).view::<i64, Ix1>().is_err());
    let pairs = publish("[('p', '|S2', (2,))]", b"abcd");
    assert_eq!(pairs.view::<Pairs, Ix1>().expect("pairs")[0].p, [*b"ab", *b"cd"]);
    // An array of structs is drafted in place.
    let mut draft = w.draft_array::<Tick, Ix1>(2).expect("room");
    draft.view_mut().expect("memory")[0] = ticks[1];
    w.publish("drafted", draft).expect("room");
    assert_eq!(t.arena.array::<Tick, Ix1>("drafted").expect("ticks").to_vec(), [ticks[1], Tick::zeroed()]);
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Pairs {
    p: [[u8; 2]; 2],
}
faretra::array_element!(Pairs { p });

/// Bytes that are written in place come back, with their length; a draft that is dropped leaves nothing.
#[test]
fn bytes_are_written_in_place() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    for len in [0, 1, 300, 1 << 20] {
        let mut draft = w.draft_bytes(len).expect("room");
        assert_eq!((draft.len(), draft.is_empty()), (len, len == 0));
        draft.bytes_mut().expect("memory").fill(7);
        w.publish("n", draft).expect("room");
        let object = t.arena.get("n").expect("published");
        assert_eq!((object.kind(), object.rows()), (Kind::Bytes, len as u64));
        assert_eq!(object.bytes().expect("bytes"), vec![7; len]);
    }
    drop(w.draft_bytes(1 << 20).expect("room"));
    drop(w.draft_dyn_array(parse("<U4"), &[1000], Order::C).expect("room"));
    w.remove("n").expect("remove");
    drop(w);
    t.assert_sound(0);
}
