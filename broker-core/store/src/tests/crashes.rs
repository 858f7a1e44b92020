//! Every state in which a crash may leave the disk.

use crate::crash_states::{Bounds, run};

#[test]
fn no_crash_state_breaks_a_promise() {
    let tried = run(&Bounds::NARROW, None).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{tried:?}");
    assert!(tried.states > 1_500 && tried.exhausted * 3 > tried.points && tried.again > 100, "{tried:?}");
}

#[test]
#[cfg(feature = "canaries")]
fn planted_bugs_are_found() {
    for canary in crate::crash_states::FINDS {
        let found = run(&Bounds::NARROW, Some(canary));
        println!("{canary:?}: {}", found.expect_err("it is found"));
    }
}
