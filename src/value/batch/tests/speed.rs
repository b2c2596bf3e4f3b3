//! Speed, informally.

use super::*;

/// Not an assertion: `cargo test --release -- --ignored --nocapture speed`.
#[test]
#[ignore = "prints times"]
fn speed() {
    let time = |what: &str, f: &mut dyn FnMut()| {
        let mut best = f64::MAX;
        for _ in 0..30 {
            let start = std::time::Instant::now();
            for _ in 0..1000 {
                f();
            }
            best = best.min(start.elapsed().as_nanos() as f64 / 1000.0);
        }
        eprintln!("{what}: {best:.0} ns");
    };
    let columns: Vec<(String, ArrayRef)> = (0..10)
        .map(|i| (format!("c{i}"), Arc::new(Float64Array::from_iter_values((0..1000).map(|k| k as f64))) as ArrayRef))
        .collect();
    let batch = batch_of(columns.iter().map(|(n, a)| (n.as_str(), a.clone())).collect());
    let stored = store(&batch);
    let region = stored.region();
    time("parse", &mut || drop(std::hint::black_box(Layout::parse(stored.root()))));
    time("parse + values", &mut || {
        drop(std::hint::black_box(stored.values(5, ElementType::F64)));
    });
    time("parse + name + values", &mut || {
        let layout = Layout::parse(stored.root()).unwrap();
        let i = layout.index_of(std::hint::black_box("c5")).unwrap().unwrap();
        drop(std::hint::black_box(layout.values(i, ElementType::F64, &stored.ground, |_| Ok(stored.extents[0]))));
    });
    time("parse + schema", &mut || drop(std::hint::black_box(Layout::parse(stored.root()).unwrap().schema())));
    time("batch of 10 f64 columns", &mut || drop(std::hint::black_box(stored.read(Trust::Writers))));
    time("the columns alone", &mut || {
        let layout = Layout::parse(stored.root()).unwrap();
        let schema = layout.schema().unwrap();
        for (i, field) in schema.fields().iter().enumerate() {
            drop(std::hint::black_box(layout.column_as(i, field.data_type(), &region, Trust::Writers)));
        }
    });
    time("ten arrays by hand, unchecked slices", &mut || {
        for i in 0..10 {
            let values = region.ground.buffer(8192 + 64 * i..16192 + 64 * i);
            let array: ArrayRef = Arc::new(Float64Array::new(ScalarBuffer::from(values), None));
            drop(std::hint::black_box(array));
        }
    });
    let layout = stored.layout();
    time("ten cursors, nodes, buffers", &mut || {
        for i in 0..10 {
            let mut cursor = layout.cursor(i, &region, Trust::Writers).unwrap();
            let node = cursor.node().unwrap();
            let _ = std::hint::black_box(cursor.validity(&node));
            let _ = std::hint::black_box(cursor.buffer(8));
        }
    });
    let columns = stored.read(Trust::Writers).unwrap();
    time("RecordBatch::try_new of them", &mut || {
        drop(std::hint::black_box(RecordBatch::try_new(columns.schema(), columns.columns().to_vec())));
    });
    time("plan of 10 f64 columns", &mut || drop(std::hint::black_box(Plan::new(&batch, Locate::NOWHERE))));
    let plan = Plan::new(&batch, Locate::NOWHERE).unwrap();
    let mut out = vec![0_u8; plan.root_bytes() as usize];
    let parts: Vec<u64> = plan.part_bytes().iter().map(|_| 0).collect();
    time("write_root of 10 f64 columns x 1000", &mut || {
        plan.write_root(64, &parts, &mut out, &|to, from| to.copy_from_slice(from))
    });
    for rows in [13, 100] {
        let small = batch.slice(0, rows);
        let size = Plan::new(&small, Locate::NOWHERE).unwrap().root_bytes() as usize;
        let mut out = vec![0_u8; size];
        time(&format!("plan and root of 10 f64 columns x {rows}, {size} bytes with descriptor"), &mut || {
            let plan = Plan::new(&small, Locate::NOWHERE).unwrap();
            plan.write_root(64, &[], &mut out, &|to, from| to.copy_from_slice(from));
        });
    }
    let every = batch_of(every_type(100));
    let of_every = store(&every);
    time("batch of every type x 100", &mut || drop(std::hint::black_box(of_every.read(Trust::Writers))));
    let slice = every.slice(3, 90);
    for (what, batch) in [("every type x 100", &every), ("slices of every type x 90", &slice)] {
        time(&format!("plan of {what}"), &mut || drop(std::hint::black_box(Plan::new(batch, Locate::NOWHERE))));
    }
    let source: Vec<u8> = vec![1; 80_000];
    let mut plain = vec![0_u8; 80_000];
    time("memcpy of 80 000 bytes", &mut || {
        plain.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&plain);
    });
}
