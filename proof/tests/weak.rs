//! Promise: no weakly ordered hardware lets a pinned object be freed, a replaced one stay, or a loose one leak.

use std::sync::Arc;

use proof::weak::{Model, Reached, pairs};

/// The three Dekker pairs, by four races, under both ways to make sequential consistency of fences.
#[test]
fn dekker_pairs_hold() {
    for pair in pairs() {
        let reached = Arc::new(Reached::default());
        for model in Model::all() {
            let n = pair.run(model, 3, &reached);
            eprintln!("{n:7} executions: {}, {model:?}", pair.name);
        }
        eprintln!("{:?}", reached.counts());
        for what in pair.must_reach {
            assert!(reached.counts().contains_key(what), "{}: never `{what}`", pair.name);
        }
    }
}

/// Each class of accesses that the pairs rest on is needed: without its fence, an execution goes wrong.
#[test]
fn each_fence_is_needed() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = vec![];
    let mut caught = 0;
    for pair in pairs() {
        for (fences, word, access) in pair.needs {
            if pair.fails(Model::new(*fences, false).weaken(*word, *access), 3) {
                caught += 1;
            } else {
                missed.push(format!("{}: {fences:?} {word:?} {access:?}", pair.name));
            }
        }
    }
    let _ = std::panic::take_hook();
    eprintln!("{caught} weakened classes caught");
    assert!(missed.is_empty(), "weakened, and nothing went wrong: {missed:#?}");
}
