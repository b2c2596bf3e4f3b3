//! Shows that a private view is this process's own: what is written is seen by nobody else, costs only the pages that were
//! written, and the object stays while the view does.

use std::sync::Arc;

use faretra::arrow::arrow_array::{Float64Array, RecordBatch};
use faretra::{DType, DynArrayView, Error, KIB, MIB, Order, PrivateArray, PrivateBytes};
use ndarray::{Array1, Array2, Ix1, Ix2, ShapeBuilder};

use crate::obey::{end_of, forked};
use crate::support::TestArena;

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<PrivateBytes>();
    shared::<PrivateArray<f64, Ix2>>();
};

/// Runs `f` in a forked child and demands that it returns true there.
#[track_caller]
fn in_a_child(f: impl FnOnce() -> bool) {
    let end = end_of(forked(|| i32::from(!f())));
    assert!(end.starts_with("Exited(") && end.ends_with(", 0)"), "{end}");
}

/// Kilobytes that `/proc/self/smaps` counts as this process's own in the mapping of this address.
fn own_kib(address: *const u8) -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut inside = false;
    for line in smaps.lines() {
        if let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-'))
            && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
        {
            inside = (from..to).contains(&address.addr());
        }
        if inside && let Some(kib) = line.strip_prefix("Anonymous:") {
            return kib.trim().trim_end_matches(" kB").parse().expect("a number");
        }
    }
    panic!("no mapping of {address:?}");
}

/// Bytes, arrays of either order and columns are written privately, at any size; others go on seeing what was published.
#[test]
fn nobody_else_sees_what_is_written() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    // Small objects lie beside others in one page.
    for len in [1, 100, 5000, 1 << 20] {
        for name in ["before", "bytes", "behind"] {
            w.publish(name, vec![1; len]).expect("room");
        }
        let object = t.arena.get("bytes").expect("published");
        let mut mine = object.private().expect("a map");
        let mut another = object.private().expect("a map");
        assert_eq!(mine[..], vec![1; len]);
        mine.fill(2);
        another[len - 1] = 3;
        assert_eq!((mine[..].to_vec(), another[len - 1]), (vec![2; len], 3));
        for name in ["before", "bytes", "behind"] {
            assert_eq!(t.arena.get(name).expect("published").bytes().expect("bytes"), vec![1; len]);
        }
        in_a_child(|| t.open().get("bytes").is_ok_and(|object| object.bytes().is_ok_and(|b| b == vec![1; len])));
    }
    assert!(
        w.publish("empty", b"").is_ok_and(|_| t.arena.get("empty").expect("it").private().expect("a map").is_empty())
    );

    let numbers = Array2::from_shape_fn((30, 40), |(i, j)| (100 * i + j) as f64);
    for (name, published) in [("c", numbers.view()), ("f", numbers.t())] {
        w.publish(name, published).expect("room");
        let array = t.arena.array::<f64, Ix2>(name).expect("published");
        let mut mine = array.private().expect("a map");
        assert_eq!((mine.view(), mine.strides()), (published, published.strides()));
        mine[[3, 4]] = -1.0;
        mine.row_mut(5).fill(-2.0);
        assert_eq!((mine[[3, 4]], mine[[5, 7]], array.view()), (-1.0, -2.0, published));
        let mut bytes = t.arena.dyn_array(name).expect("published").private().expect("a map");
        bytes.fill(0);
        assert_eq!(t.arena.array::<f64, Ix2>(name).expect("published").view(), published);
    }
    w.publish("bools", Array1::from(vec![true, false])).expect("room");
    let mut bools = t.arena.array::<bool, Ix1>("bools").expect("published").private().expect("a map");
    bools[1] = true;
    assert_eq!(bools.to_vec(), [true, true]);
    w.publish("none", Array2::<f32>::zeros((0, 3).f())).expect("room");
    assert_eq!(t.arena.array::<f32, Ix2>("none").expect("it").private().expect("a map").shape(), [0, 3]);

    for rows in [3, 100_000] {
        let column: Float64Array = (0..rows).map(f64::from).collect();
        w.publish("batch", RecordBatch::try_from_iter([("x", Arc::new(column) as _)]).expect("a batch")).expect("room");
        let batch = t.arena.batch("batch").expect("published");
        let mut mine = batch.column::<f64>("x").expect("numbers").private().expect("a map");
        mine.as_slice_mut().expect("contiguous").sort_by(|a, b| b.total_cmp(a));
        assert_eq!((mine[0], batch.column::<f64>("x").expect("numbers")[0]), (f64::from(rows - 1), 0.0));
    }
    let error = t.arena.get("batch").expect("published").private().expect_err("neither bytes nor an array");
    assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("take the column"), "{error}");
}

/// A page costs memory when it is written, and only then.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "private views are copies")]
fn only_what_is_written_costs() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    w.publish("n", vec![1; 32 << 20]).expect("room");
    let object = t.arena.get("n").expect("published");
    let used = t.arena.stats().expect("stats").used;
    let mut mine = object.private().expect("a map");
    assert_eq!(own_kib(mine.as_ptr()), 0);
    assert_eq!(mine.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 32 << 20);
    assert_eq!(own_kib(mine.as_ptr()), 0, "reading copies nothing");
    // One page in a hundred.
    let pages = (32 << 20) / 4096;
    for page in (0..pages).step_by(100) {
        mine[page * 4096 + 7] = 2;
    }
    let written = (pages as u64).div_ceil(100) * 4;
    // Where the kernel copies several pages at once it takes more, but not all.
    let own = own_kib(mine.as_ptr());
    eprintln!("{written} KiB were written, {own} KiB are this process's own");
    assert!((written..written + 64).contains(&own), "{own} KiB for {written}");
    assert_eq!(t.arena.stats().expect("stats").used, used, "it is not the arena's memory");
}

/// The object stays while its view does, whatever becomes of the name, the object's handle and the arena's.
#[test]
fn a_view_keeps_its_object() {
    let t = TestArena::new(64 * MIB);
    let arena = t.open();
    let w = t.arena.writer().expect("a permit");
    w.publish("n", vec![1; 1 << 20]).expect("room");
    w.publish("a", Array1::from(vec![1_u64; 1 << 17])).expect("room");
    let mut bytes = arena.get("n").expect("published").private().expect("a map");
    let mut array = arena.array::<u64, Ix1>("a").expect("published").private().expect("a map");
    drop(arena);
    bytes[0] = 2;
    array[0] = 2;
    for name in ["n", "a"] {
        w.remove(name).expect("remove");
    }
    t.arena.trim().expect("trim");
    // What is published now would lie where the objects were.
    for i in 0..20 {
        w.publish(&format!("other {i}"), vec![9; 1 << 20]).expect("room");
    }
    assert!(bytes[1..].iter().all(|&byte| byte == 1) && bytes[0] == 2);
    assert!(array.iter().skip(1).all(|&value| value == 1) && array[0] == 2);
    let threads = std::thread::scope(|scope| {
        let sum = scope.spawn(|| array.iter().sum::<u64>());
        bytes.fill(3);
        sum.join().expect("no panic")
    });
    assert_eq!(threads, (1 << 17) + 1);
    for i in 0..20 {
        w.remove(&format!("other {i}")).expect("remove");
    }
    assert!(t.arena.stats().expect("stats").live > 2 * MIB, "the views keep their objects");
    drop((bytes, array, w));
    t.assert_sound(0);
}

/// A forked child has what its parent had written; from then on each writes its own. A new view is refused to the child.
#[test]
fn a_forked_child_has_its_own() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    w.publish("n", vec![1; 64 * KIB as usize]).expect("room");
    let object = t.arena.get("n").expect("published");
    let mut mine = object.private().expect("a map");
    mine[0] = 2;
    in_a_child(|| {
        let before = mine[0] == 2 && mine[1] == 1 && mine[40_000] == 1;
        mine[1] = 3;
        mine[40_000] = 3;
        let refused = matches!(object.private(), Err(Error::Forked(_)));
        before && refused && mine[1] == 3 && mine[40_000] == 3
    });
    assert_eq!((mine[0], mine[1], mine[40_000]), (2, 1, 1));
    mine[1] = 4;
    let inherited = object.private().expect("a map");
    in_a_child(|| {
        // Unmaps it there alone.
        drop(inherited);
        mine[0] == 2 && mine[1] == 4
    });
    assert_eq!((mine[1], mine[40_000]), (4, 1));
    assert_eq!(t.arena.recover().expect("recover").participants, 0, "the child never took part");
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// A process that dies with a private view leaves no pin and no memory.
#[test]
fn a_kill_leaves_nothing() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    w.publish("n", vec![1; 1 << 20]).expect("room");
    let end = end_of(forked(|| {
        let arena = t.open();
        let mut mine = arena.get("n").expect("published").private().expect("a map");
        mine.fill(2);
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("a signal");
        0
    }));
    assert!(end.starts_with("Signaled(") && end.contains("SIGKILL"), "{end}");
    assert_eq!(t.arena.get("n").expect("published").bytes().expect("bytes"), vec![1; 1 << 20]);
    w.remove("n").expect("remove");
    drop(w);
    t.assert_sound(0);
}

/// Records of a type known at run time are changed privately, too.
#[test]
fn records_are_changed_privately() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let dtype: DType = "[('id', '>i4'), ('name', '|S4')]".parse().expect("a type");
    w.publish("n", DynArrayView::from_bytes(dtype, &[2], Order::C, b"\0\0\0\x01ab\0\0\0\0\0\x02cdef").expect("bytes"))
        .expect("room");
    let array = t.arena.dyn_array("n").expect("published");
    let mut mine = array.private().expect("a map");
    mine[array.strides()[0] as usize + 4..][..4].copy_from_slice(b"wxyz");
    assert_eq!((&mine[12..], &array.bytes()[12..]), (&b"wxyz"[..], &b"cdef"[..]));
}

/// M7: what is written through a draft's own map before it is finished is published; what is written after that, to other
/// pages and to the same, nobody sees; and the map keeps its object when the name is gone and memory is used again.
#[test]
fn old_views_of_a_draft_change_nothing() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    for len in [1, 100, 4096, 10_000, 300_000] {
        let mut map = w.draft_bytes(len).expect("room").into_map().expect("mapped");
        map.bytes_mut().fill(1);
        let at = map.bytes_mut().as_ptr();
        w.publish("x", map.finish().expect("mapped anew")).expect("published");
        assert!(!map.is_draft() && map.finish().is_err(), "it was finished");
        map.bytes_mut()[len / 2..].fill(2);
        assert_eq!((map.bytes_mut().as_ptr(), map.bytes_mut()[0]), (at, if len == 1 { 2 } else { 1 }));
        let seen = t.arena.get("x").expect("published");
        assert!(seen.bytes().expect("bytes").iter().all(|byte| *byte == 1), "{len}");
        drop(seen);
        w.remove("x").expect("there");
        for i in 0..4 {
            w.publish(&format!("reuse-{i}"), vec![3_u8; len].as_slice()).expect("room");
        }
        assert!(map.bytes_mut()[..len / 2].iter().all(|byte| *byte == 1), "{len}: it is pinned");
        drop(map);
    }
    assert_eq!(t.arena.verify().expect("sound"), []);
}

/// A draft that is discarded gives its memory back at once; its old views read zeros, and write to nobody's memory.
#[test]
fn old_views_of_a_discarded_draft_are_zeros() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let mut map =
        w.draft_dyn_array(faretra::ElementType::U8, &[10 << 20], Order::C).expect("room").into_map().expect("mapped");
    map.bytes_mut().fill(1);
    map.discard().expect("mapped anew");
    map.discard().expect("again is nothing");
    assert!(map.finish().is_err(), "it was dropped");
    assert!(map.bytes_mut().iter().all(|byte| *byte == 0));
    let next = vec![5_u8; 10 << 20];
    w.publish("next", next.as_slice()).expect("the memory is free again");
    map.bytes_mut().fill(2);
    assert_eq!(t.arena.get("next").expect("there").bytes().expect("bytes"), next);
    // A map that is dropped without either gives the draft up.
    drop(w.draft_bytes(3 << 20).expect("room").into_map().expect("mapped"));
    w.publish("more", vec![6_u8; 3 << 20].as_slice()).expect("room");
    assert_eq!(t.arena.verify().expect("sound"), []);
}

/// M7: rows that were given back are not written through old views.
#[test]
fn old_views_of_rows_change_nothing() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let grid = w.mutable_array::<u16, Ix2>("grid", (64, 1000), 4).expect("room");
    let mut rows = grid.write(2).expect("free").into_map().expect("mapped");
    assert_eq!((rows.rows(), rows.bytes_mut().len()), (32..48, 16 * 2000));
    rows.bytes_mut().fill(1);
    assert!(grid.try_read(2).expect("sound").is_none(), "they are ours");
    rows.finish().expect("mapped anew");
    rows.bytes_mut().fill(2);
    let all = grid.try_read_all().expect("sound").expect("given back");
    let all = all.view().expect("sound");
    assert!(all.indexed_iter().all(|((row, _), value)| *value == if (32..48).contains(&row) { 257 } else { 0 }));
}
