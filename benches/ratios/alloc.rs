//! Memory: a draft made and dropped again, small and large, warm.

use faretra::MIB;
use ndarray::Ix1;

use crate::measure::{Table, block, in_turn};
use crate::setting::{Outcome, Scale, arena};

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let here = arena("alloc", 2048 * MIB, |o| o.warm(2048 * MIB))?;
    let writer = here.writer()?;
    let draft = |bytes: usize| writer.draft_array::<u8, Ix1>(bytes).expect("room");
    const N: u64 = 1000;
    let malloc = |bytes: usize| Vec::<u8>::with_capacity(std::hint::black_box(bytes));
    let [heap, small, page, large, huge] = in_turn(
        300 / scale.hurry,
        N,
        [
            &mut || block(N, || malloc(200)),
            &mut || block(N, || draft(100)),
            &mut || block(N, || draft(4000)),
            &mut || block(N, || draft(MIB as usize)),
            &mut || block(N, || draft(64 * MIB as usize)),
        ],
    );
    table.ratio("draft of 100 B made + dropped, warm; floor: malloc + free", &small, &heap, "<= 60 ns");
    table.ratio("draft of 4 KB made + dropped, warm", &page, &heap, "");
    table.ratio("draft of 1 MiB made + dropped, warm", &large, &heap, "<= 300 ns");
    table.ratio("draft of 64 MiB made + dropped, warm", &huge, &heap, "<= 300 ns");

    // Many at a time, so that the stash of the process does not hold them all.
    const MANY: u64 = 10_000;
    let [many] =
        in_turn(30 / scale.hurry, MANY, [&mut || block(1, || (0..MANY).map(|_| draft(100)).collect::<Vec<_>>())]);
    table.plain("draft of 100 B, 10,000 made, then dropped", &many, "");
    Ok(())
}
