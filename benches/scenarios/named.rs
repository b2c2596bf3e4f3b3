//! A name among many: does a get stay as fast, and what does an object take beside its bytes?

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use faretra::{Arena, GIB};

use crate::crew::run_name;
use crate::measure::{Along, Table, block, in_turn};
use crate::pair::Outcome;
use crate::setting::{Random, Scale};

const BYTES: usize = 200;
const N: u64 = 1000;

fn name(i: u64) -> String {
    format!("sensor/{i:08}")
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let most = scale.of(100_000, 1_000_000);
    for count in [1_000, 100_000, 1_000_000_u64].into_iter().filter(|count| *count <= most) {
        let here = Arena::options().limit(3 * GIB).keep(false).create(&run_name("named"))?;
        let writer = here.writer()?;
        let empty = here.stats()?.used;
        let mut shelf = HashMap::new();
        for i in 0..count {
            writer.publish(&name(i), &[7_u8; BYTES][..])?;
            shelf.insert(name(i), Arc::new(vec![7_u8; BYTES]));
        }
        let shelf = Mutex::new(shelf);
        let reader = Arena::open(here.name())?;
        // In an order that no cache foresees, the same for all; the names are made before the clock starts.
        let some = |random: &mut Random| (0..N).map(|_| name(random.below(count))).collect::<Vec<_>>().into_iter();
        let [mut theirs, mut ours, mut again] = [(); 3].map(|()| Random::new(count));
        let [floor, get, publish] = in_turn(
            200 / scale.hurry,
            N,
            [
                &mut || {
                    let mut names = some(&mut theirs);
                    block(N, || {
                        let value = shelf.lock().expect("no panic")[&names.next().expect("N")].clone();
                        value[0]
                    })
                },
                &mut || {
                    let mut names = some(&mut ours);
                    block(N, || {
                        let object = reader.get(&names.next().expect("N")).expect("published");
                        object.bytes().expect("bytes")[0]
                    })
                },
                &mut || {
                    let mut names = some(&mut again);
                    block(N, || writer.publish(&names.next().expect("N"), &[7_u8; BYTES][..]).expect("room"))
                },
            ],
        );
        let of = Along::Objects(count);
        let lines = ["get + first byte + drop of one of so many names", "Mutex<HashMap>, one process"];
        table.along(format!("{count} names: get + first byte + drop; floor: HashMap"), of, lines, &get, &floor, "");
        let lines = ["publish under one of so many names", ""];
        table.along(format!("{count} names: publish 200 B under one of them"), of, lines, &publish, &floor, "");
        let used = here.stats()?.used - empty;
        let what = format!("{count} names of {BYTES} B: all memory of the arena");
        table.memory(what, of, "memory for objects of 200 B", used, count * BYTES as u64);
    }
    Ok(())
}
