//! What damage does to reading a batch: an error or another batch, never a panic.

use super::*;

/// A small generator with a seed, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33 ^ self.0 << 20
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 8) % n
    }
}

#[test]
fn children_of_the_wrong_length_are_refused() {
    for (name, wrong) in [
        ("list", 3),
        ("fixed size list", 30_u64),
        ("struct", 8),
        ("fixed size list", 26),
        ("map", 1),
        ("union, sparse", 8),
    ] {
        let (_, array) = every_type(9).into_iter().find(|t| t.0 == name).unwrap();
        let stored = store(&batch_of(vec![(name, array)]));
        let child = stored.layout().sections.nodes as usize + NODE_BYTES as usize;
        let forged = stored.with(|root| {
            root[child..child + 8].copy_from_slice(&wrong.to_le_bytes());
            root[child + 8..child + 16].fill(0);
        });
        let error = forged.read(Trust::Writers).unwrap_err().to_string();
        assert!(error.contains("where") && error.contains("are needed"), "{name}: {error}");
    }
}

/// arrow refuses such batches when they are made, and nothing that is read may be one.
#[test]
fn nulls_where_there_can_be_none_are_refused() {
    let stored = store(&batch_of(vec![("n", Arc::new(Int64Array::from(vec![Some(1), None])))]));
    let schema = stored.layout().schema().unwrap();
    let mut refused = 0;
    // Somewhere in the schema message is the byte that makes the field nullable.
    for at in 0..stored.layout().schema_bytes().len() {
        let forged = stored.with(|root| {
            let mut header = Header::read(root).unwrap();
            let s = Sections::of(&header);
            let message = &mut root[s.schema as usize..s.batch as usize];
            message[at] ^= 1;
            header.schema_print = fingerprint(message);
            header.write(root);
        });
        let Ok(Ok(found)) = Layout::parse(forged.root()).map(|layout| layout.schema()) else { continue };
        if found.field(0) == &schema.field(0).clone().with_nullable(false) {
            let error = forged.read(Trust::Writers).unwrap_err().to_string();
            assert!(error.contains("1 nulls in column 0 (`n`)"), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1);
}

/// Damage is an error or another batch, never a panic. The values are read only where they were
/// validated.
fn try_everything(stored: &Stored) {
    if let Ok(layout) = Layout::parse(stored.root()) {
        let _ = layout.ipc();
        let _ = layout.nbytes();
        for i in 0..layout.num_columns().min(100) {
            let _ = layout.null_count(i);
            let _ = stored.values(i, ElementType::I64);
            let _ = layout.column(i, &stored.region(), Trust::Writers);
            if let Ok(column) = layout.column(i, &stored.region(), Trust::Nobody) {
                let _ = format!("{column:?}");
            }
        }
        let _ = layout.batch(&stored.region(), Trust::Writers);
    }
}

#[test]
fn flipped_bits_never_panic() {
    let mut random = Random(7);
    let types = every_type(9);
    for (name, array) in types {
        let stored = store(&batch_of(vec![(name, array)]));
        for _ in 0..400 {
            try_everything(&stored.with(|root| {
                for _ in 0..=random.below(3) {
                    let bit = random.below(8 * root.len() as u64) as usize;
                    root[bit / 8] ^= 1 << (bit % 8);
                }
            }));
        }
        // Words of the tables set to what is just wrong.
        for _ in 0..400 {
            try_everything(&stored.with(|root| {
                let tables = Sections::of(&Header::read(root).unwrap()).schema;
                let at = 8 + 4 * random.below((tables - 8) / 4) as usize;
                let word = [0, 1, 2, 63, 64, 65, 1 << 31, u32::MAX][random.below(8) as usize];
                root[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }));
        }
    }
}

/// Held buffers start anywhere, so damage may put any buffer anywhere.
#[test]
fn buffers_that_start_askew_never_panic() {
    let types = every_type(9).into_iter().chain(every_type(12_000));
    for (name, array) in types {
        let rows = array.len();
        let stored = store(&batch_of(vec![(name, array)]));
        let stored = store_again(&stored, &stored.read(Trust::Writers).unwrap()).0;
        let (first, last) = (stored.layout().sections.buffers, stored.layout().sections.lengths);
        for row in (first..last).step_by(BUFFER_BYTES as usize) {
            // One step says enough about the large ones, which take time to read.
            let steps: &[u8] = if rows == 9 { &[1, 2, 4, 8, 16, 32] } else { &[4] };
            for &by in steps {
                try_everything(&stored.with(|root| root[row as usize] = root[row as usize].wrapping_add(by)));
            }
            let extent = row as usize + 14;
            for k in [0, 2] {
                try_everything(&stored.with(|root| root[extent] = k));
            }
        }
        assert!(rows > 0 && stored.read(Trust::Nobody).is_ok());
    }
}

#[test]
fn forged_schemas_never_panic() {
    let mut random = Random(11);
    let plan = store(&batch_of(every_type(2)));
    let whole = plan.layout().schema_bytes().to_vec();
    for (name, array) in every_type(2) {
        let stored = store(&batch_of(vec![(name, array)]));
        let one = stored.layout().schema_bytes().to_vec();
        for (bytes, rounds) in [(&one, 600), (&whole, 20)] {
            for _ in 0..rounds {
                let mut bytes = bytes.clone();
                for _ in 0..=random.below(4) {
                    let bit = random.below(8 * bytes.len() as u64) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                let _ = decode_schema(&bytes);
            }
        }
        // Forged and signed: the schema of one column over the tables of another.
        for _ in 0..100 {
            try_everything(&stored.with(|root| {
                let mut header = Header::read(root).unwrap();
                let s = Sections::of(&header);
                let schema = &mut root[s.schema as usize..s.batch as usize];
                let bit = random.below(8 * schema.len() as u64) as usize;
                schema[bit / 8] ^= 1 << (bit % 8);
                header.schema_print = fingerprint(schema);
                header.write(root);
            }));
        }
    }
}

#[test]
fn random_bytes_are_no_batch() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let len = random.below(400) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        if len > 64 && random.below(2) == 0 {
            bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[4..8].copy_from_slice(&FORMAT.to_le_bytes());
            // Small counts, so that sections may fit.
            for count in bytes[16..].chunks_mut(4).take(10) {
                count[1..].fill(0);
            }
        }
        let stored = Stored::new(Buffer::from(bytes), vec![Extent { offset: 0, len: len as u64 }]);
        try_everything(&stored);
    }
}

#[test]
fn buffers_outside_the_extents_are_refused() {
    let stored = store(&batch_of(vec![("x", Arc::new(Int64Array::from_iter_values(0..100)))]));
    let buffers = Sections::of(&stored.layout().header).buffers as usize + BUFFER_BYTES as usize;
    for at in [
        0_u64,
        stored.extents[0].offset - 64,
        stored.extents[0].offset + stored.extents[0].len,
        u64::MAX - 63,
        stored.extents[0].offset + 4,
    ] {
        let forged = stored.with(|root| root[buffers..buffers + 8].copy_from_slice(&at.to_le_bytes()));
        assert!(matches!(forged.read(Trust::Writers), Err(Error::Damaged(_))), "{at}");
        assert!(forged.values(0, ElementType::I64).is_err());
    }
}
