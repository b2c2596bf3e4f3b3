//! Many small objects: does it stay fast, and what does an object cost beside its bytes?

use faretra::{Arena, GIB};

use crate::measure::{Table, Times, block};
use crate::setting::{Outcome, Scale, arena};

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    for count in [1_000, 10_000, 100_000, 1_000_000_u64].into_iter().filter(|n| *n <= scale.names) {
        let here = arena("names", 3 * GIB, |o| o)?;
        let writer = here.writer()?;
        let reader = Arena::open(here.name())?;
        let empty = here.stats()?.metadata;
        let name = |i: u64| format!("sensor/{i:08}");
        let payload = [7_u8; 200];
        const N: u64 = 1000;

        let mut publish = Times::default();
        for from in (0..count).step_by(N as usize) {
            let mut names = (from..from + N).map(name).collect::<Vec<_>>().into_iter();
            let time = block(N, || writer.publish(&names.next().expect("N"), &payload[..]).expect("room"));
            publish.push(time, N);
        }
        // In an order that no cache foresees; the names are made before the clock starts.
        let mut seed = 1_u64;
        let mut some = || -> Vec<String> {
            let mut one = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                name((seed >> 33) % count)
            };
            (0..N).map(|_| one()).collect()
        };
        let (mut again, mut get) = (Times::default(), Times::default());
        for _ in 0..200 / scale.hurry {
            let mut names = some().into_iter();
            get.push(block(N, || reader.get(&names.next().expect("N")).expect("published")), N);
            let mut names = some().into_iter();
            again.push(block(N, || writer.publish(&names.next().expect("N"), &payload[..]).expect("room")), N);
        }
        let stats = here.stats()?;
        let each = (stats.metadata - empty) as f64 / count as f64;
        table.plain(format!("{count} names of 200 B: publish under a new name"), &publish, "");
        table.plain(format!("{count} names: publish under a name that is there"), &again, "");
        table.plain(format!("{count} names: get + drop"), &get, "");
        let all = stats.used as f64 / count as f64;
        table.fact(format!("{count} names: metadata per object, name included"), format!("{each:.0} B"), "<= 256 B");
        table.fact(format!("{count} names: all memory per object of 200 B"), format!("{all:.0} B"), "");
    }
    Ok(())
}
