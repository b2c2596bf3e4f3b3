//! Promise: what a reader sees of an object is what its writer wrote, on every hardware that Rust runs on.
//! (That no payload is raced for is part of `race.rs`; here, that the orderings which see to it are needed.)

use proof::hb::{Clocks, NEEDED, RACES, is_ordered, places};

/// Each listed place, weakened to `Relaxed`, makes a data race in some schedule.
#[test]
fn every_listed_ordering_is_needed() {
    std::panic::set_hook(Box::new(|_| {}));
    let places = places(1000);
    let mut missed = vec![];
    for (name, race) in NEEDED {
        let place = places.get(*name).copied();
        let weakened = place.map(|p| is_ordered(RACES[*race], &Clocks::weaken(Some(p)), 6000));
        match weakened {
            None => missed.push(format!("{name}: no such place; there are {:?}", places.keys())),
            Some(Ok(seen)) => missed.push(format!("{name}: no race in {} schedules", seen.schedules)),
            Some(Err(why)) => eprintln!("{name}: {why}"),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "{missed:#?}");
}
