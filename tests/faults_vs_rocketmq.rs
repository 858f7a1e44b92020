//! The same faults under the same load, looked at by the same checker, for Halley and for a real RocketMQ 5.5.0 that
//! acknowledges after the sync: the table of `docs/reliability.md`. `scripts/faults-vs-rocketmq.sh` runs it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{
    disk::{Disk, FileSystem},
    fault::Fault,
    history::{Verdict, Violation},
    load::{End, Load, Shape},
    subject::{Subject, Trial},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

/// How often a process is killed and the power is cut.
const ROUNDS: usize = 5;

/// What a fault did, beside what became of the messages.
type Told = &'static str;

struct Row {
    fault: &'static str,
    file_system: FileSystem,
    strike: fn(&Disk, &mut Trial) -> Told,
}

const ROWS: &[Row] = &[
    Row { fault: "`kill -9`, five times", file_system: FileSystem::Ext4, strike: kill },
    Row { fault: "power cut, five times", file_system: FileSystem::Ext4, strike: cut_power },
    Row { fault: "power cut, five times", file_system: FileSystem::Xfs, strike: cut_power },
    Row { fault: "medium fails under the log", file_system: FileSystem::Ext4, strike: lose_medium },
    Row { fault: "medium fails under the log", file_system: FileSystem::Xfs, strike: lose_medium },
    Row { fault: "every sync fails, then power cut", file_system: FileSystem::Ext4, strike: fail_syncs },
    Row { fault: "disk full, then room", file_system: FileSystem::Ext4, strike: fill },
    Row { fault: "disk frozen for 3 s", file_system: FileSystem::Ext4, strike: freeze },
];

fn kill(_: &Disk, trial: &mut Trial) -> Told {
    for round in 0..ROUNDS {
        let load = trial.load(200 + round * 100);
        trial.subject.kill();
        load.stop();
        trial.subject.restart();
    }
    "came back"
}

fn cut_power(disk: &Disk, trial: &mut Trial) -> Told {
    for round in 0..ROUNDS {
        let load = trial.load(200 + round * 100);
        trial.subject.cut_power(disk);
        load.stop();
        trial.subject.restart();
    }
    "came back"
}

fn lose_medium(disk: &Disk, trial: &mut Trial) -> Told {
    if trial.lose_medium(disk) { "ended by itself, came back" } else { "went on" }
}

fn fail_syncs(disk: &Disk, trial: &mut Trial) -> Told {
    // RocketMQ syncs what it has mapped with msync.
    let calls = "msync,fdatasync,fsync";
    let fault = Fault::inject(trial.subject.pid(), calls, "error=EIO:when=20+").expect("strace");
    let load = Load::start(trial.subject.broker(), &trial.shape, &trial.history);
    thread::sleep(Duration::from_secs(5));
    let ended = trial.subject.ended();
    // Whoever traces a process keeps it from being stopped by others.
    drop(fault);
    disk.cut_power();
    trial.subject.kill();
    disk.remount();
    load.stop();
    trial.subject.restart();
    if ended { "ended by itself, came back" } else { "went on" }
}

fn fill(disk: &Disk, trial: &mut Trial) -> Told {
    trial.load(100).stop();
    disk.fill_but(0);
    let shape = Shape { bytes: 100_000, ..trial.shape.clone() };
    let load = Load::start(trial.subject.broker(), &shape, &trial.history);
    // Until it says so, or cannot any more.
    let end = Instant::now() + Duration::from_secs(60);
    while trial.refused() < 50 && !trial.subject.ended() && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
    }
    let ended = trial.subject.ends_within(Duration::from_secs(3));
    disk.make_room();
    if ended {
        trial.subject.kill();
        load.stop();
        trial.subject.restart();
        return "ended by itself, came back";
    }
    let (acknowledged, end) = (trial.acknowledged(), Instant::now() + Duration::from_secs(60));
    while trial.acknowledged() < acknowledged + 20 && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
    }
    load.stop();
    if trial.acknowledged() > acknowledged {
        return "refused, then took messages without a restart";
    }
    trial.subject.kill();
    trial.subject.restart();
    "took no message in the minute after there was room, came back after a restart"
}

fn freeze(disk: &Disk, trial: &mut Trial) -> Told {
    let load = trial.load(200);
    let frozen = disk.freeze();
    thread::sleep(Duration::from_secs(3));
    drop(frozen);
    trial.wait_for(200);
    load.stop();
    if trial.subject.ended() { "ended by itself" } else { "went on" }
}

fn run(row: &Row, halley: bool) -> Result<(Verdict, Told), String> {
    let run = || {
        let disk = Disk::with_every_block(row.file_system).ok_or("no disk")?;
        let subject = if halley {
            Subject::halley(&disk, "sync", "  segment: 64MiB\n")
        } else {
            Subject::rocketmq(&disk, "").ok_or("no RocketMQ")?
        };
        let mut trial = Trial::new(subject, Shape { bytes: 1000, ..Shape::small("faults") });
        let told = (row.strike)(&disk, &mut trial);
        Ok((trial.try_verdict(End::Probed)?, told))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("did not come back".to_owned()))
}

#[test]
#[ignore = "a comparison of some minutes: scripts/faults-vs-rocketmq.sh"]
fn the_table() {
    let mut table = String::from(
        "| fault | on | broker | acknowledged | refused, unanswered | lost | vanished after delivery | offsets given twice | what it did |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let wanted = std::env::var("FAULT").unwrap_or_default();
    let mut broken = Vec::new();
    for row in ROWS.iter().filter(|row| row.fault.contains(&wanted)) {
        for (name, halley) in [("Halley", true), ("RocketMQ 5.5.0", false)] {
            let line = match run(row, halley) {
                Ok((verdict, told)) => {
                    eprintln!("{} on {:?}, {name}: {verdict}; {told}", row.fault, row.file_system);
                    if halley && !verdict.violations.is_empty() {
                        broken.push(format!("{}: {verdict}", row.fault));
                    }
                    let count = |of: fn(&Violation) -> bool| verdict.count(of);
                    format!(
                        "{} | {}, {} | {} | {} | {} | {told}",
                        verdict.acknowledged,
                        verdict.refused,
                        verdict.unanswered,
                        count(|violation| matches!(violation, Violation::Lost(_))),
                        count(|violation| matches!(violation, Violation::Vanished(..))),
                        count(|violation| matches!(violation, Violation::OffsetGivenTwice(_))),
                    )
                }
                Err(problem) => {
                    if halley {
                        broken.push(format!("{}: {problem}", row.fault));
                    }
                    format!(" | | | | | {problem}")
                }
            };
            table += &format!("| {} | {:?} | {name} | {line} |\n", row.fault, row.file_system);
        }
    }
    println!("{table}");
    assert!(broken.is_empty(), "Halley broke a promise: {broken:#?}");
}
