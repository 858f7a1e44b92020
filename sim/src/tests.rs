use super::*;

#[test]
fn nothing_is_violated_and_a_seed_decides_everything() {
    for seed in 0..60 {
        let outcome =
            run(seed, None, false).unwrap_or_else(|failure| panic!("seed {seed}: {}", failure.violation));
        if seed % 10 == 0 {
            assert_eq!(run(seed, None, true).unwrap().hash, outcome.hash, "seed {seed} twice");
        }
    }
}

#[test]
fn planted_bugs_are_found() {
    let quick = [
        Bug::Store(store::Canary::AckBeforeSync),
        Bug::Store(store::Canary::SyncErrorIgnored),
        Bug::Store(store::Canary::IndexAheadOfLog),
        Bug::Store(store::Canary::OffsetReused),
        Bug::Delivery(delivery::Canary::DeadLetterDropped),
        Bug::Delivery(delivery::Canary::CursorPastOpen),
        Bug::Delivery(delivery::Canary::RetryForgetsOrder),
    ];
    for bug in quick {
        assert!(
            (0..400).any(|seed| run(seed, Some(bug), false).is_err()),
            "{bug:?} is not found in 400 seeds"
        );
    }
}
