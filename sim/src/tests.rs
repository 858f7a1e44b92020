use super::*;
use halley_delivery::Canary as DeliveryBug;
use halley_machine::pop::Canary as PopBug;
use halley_store::Canary as StoreBug;

/// Runs seeds; gives what they covered.
fn check(seeds: std::ops::Range<u64>) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in seeds {
        let report = run(seed, None, false);
        if let Err(violation) = report.result {
            panic!("seed {seed}: {violation}\nreplay it: cargo run -p halley-sim -- replay {seed}");
        }
        coverage.add(&report.coverage);
    }
    coverage
}

#[test]
fn no_seed_breaks_a_promise_and_everything_strikes() {
    let mut coverage = check(0..100);
    // Where a device that lies goes unnoticed.
    coverage.add(&check(124..125));
    assert_eq!(coverage.missing(), Vec::<String>::new());
}

#[test]
fn one_seed_has_one_history() {
    for seed in 100..110 {
        let (first, second) = (run(seed, None, false), run(seed, None, true));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert!(!second.lines.is_empty());
    }
    assert_ne!(run(100, None, false).hash, run(101, None, false).hash);
}

/// Asserts that one of the seeds finds the bug.
fn finds(bug: Bug, mut seeds: std::ops::Range<u64>) {
    let found = seeds.any(|seed| run(seed, Some(bug), false).result.is_err());
    assert!(found, "{bug:?} is not found");
}

#[test]
fn planted_bugs_of_the_store_are_found() {
    finds(Bug::Store(StoreBug::AckBeforeSync), 0..100);
    finds(Bug::Store(StoreBug::SyncErrorIgnored), 0..200);
    finds(Bug::Store(StoreBug::SyncRetried), 0..200);
    finds(Bug::Store(StoreBug::TailCrcSkipped), 0..100);
    // Some need two crashes at one place, or one within a removal; `halley-sim canaries` gets there from seed 0.
    finds(Bug::Store(StoreBug::ChainSkipped), 770..780);
    finds(Bug::Store(StoreBug::OffsetReused), 0..20);
    finds(Bug::Store(StoreBug::IndexAheadOfLog), 0..100);
    finds(Bug::Store(StoreBug::RenameUnsynced), 0..100);
    finds(Bug::Store(StoreBug::LightQueuesForgotten), 0..20);
    finds(Bug::Store(StoreBug::RemovedBeforeMark), 185..190);
    finds(Bug::Store(StoreBug::SnapshotAheadOfLog), 0..20);
}

#[test]
fn planted_bugs_of_deliveries_are_found() {
    finds(Bug::Delivery(DeliveryBug::DeadLetterDropped), 0..50);
    finds(Bug::Delivery(DeliveryBug::CursorPastOpen), 0..50);
    finds(Bug::Delivery(DeliveryBug::RetryForgetsOrder), 0..100);
}

#[test]
fn planted_bugs_of_pops_are_found() {
    finds(Bug::Pop(PopBug::CommitPastFlights), 0..30);
    finds(Bug::Pop(PopBug::DueTooEarly), 0..60);
}

#[test]
fn planted_bugs_of_the_shell_are_found() {
    finds(Bug::Shell(ShellBug::DoneBeforeDelivery), 0..20);
    finds(Bug::Shell(ShellBug::CommitWithoutEnd), 0..200);
    finds(Bug::Shell(ShellBug::TimersNotInSnapshot), 0..20);
    finds(Bug::Shell(ShellBug::CommitsAheadOfLog), 150..155);
}

#[test]
fn planted_bugs_of_retention_are_found() {
    finds(Bug::Shell(ShellBug::RemovedWithoutMove), 0..20);
    finds(Bug::Shell(ShellBug::RemovedWithoutState), 0..20);
    finds(Bug::Shell(ShellBug::RemovedBeforeDurable), 80..85);
    finds(Bug::Shell(ShellBug::DeliveredWhileMoved), 1496..1497);
}

/// Seeds that found something, each with what it was.
mod regressions {
    use super::*;

    /// A snapshot was said to be true from a log offset read before the state was: under `os`, the power took events and
    /// dead letters that the snapshot's cursors had passed.
    #[test]
    fn a_snapshot_knows_no_more_than_the_log_it_needs() {
        check(950..951);
        check(1822..1823);
    }

    /// Before its segment was removed, a recall was moved, and was back and finished before the message that it recalls: the
    /// message was delivered.
    #[test]
    fn a_recall_holds_while_it_is_moved() {
        check(1496..1497);
    }

    /// A snapshot was said to be true from the acknowledged end of the log on, but its state knew what was only staged: a kill
    /// took the commit of a transaction that the snapshot had as ended.
    #[test]
    fn a_snapshot_waits_for_what_is_staged() {
        check(105..106);
    }
}
