//! `halley-sim`: runs seeds, replays one, and proves that planted bugs are found.

use clap::{Parser, Subcommand};
use halley_sim::{Bug, Coverage};
use std::process::ExitCode;

/// Seeds tried before a planted bug counts as not found.
const BUDGET: u64 = 3000;

#[derive(Parser)]
#[command(about = "Simulates store, queues and delivery under faults, by seed")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds; every twentieth twice, to show that a seed decides everything
    Run {
        /// How many
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// The first
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Run one seed and print its history
    Replay {
        /// The seed
        seed: u64,
    },
    /// Plant each known bug, and find it
    Canaries,
}

fn main() -> ExitCode {
    // Assertions of the parts are told as violations; their own messages would drown them.
    std::panic::set_hook(Box::new(|_| {}));
    let good = match Cli::parse().command {
        Command::Run { seeds, from } => run(from, seeds),
        Command::Replay { seed } => replay(seed),
        Command::Canaries => canaries(),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(from: u64, seeds: u64) -> bool {
    let (mut coverage, mut failed) = (Coverage::default(), 0);
    for seed in from..from + seeds {
        match halley_sim::run(seed, None, false) {
            Ok(outcome) => {
                coverage.add(&outcome.coverage);
                if seed % 20 == 0
                    && halley_sim::run(seed, None, false).ok().map(|again| again.hash) != Some(outcome.hash)
                {
                    println!("seed {seed} run twice has two hashes");
                    failed += 1;
                }
            }
            Err(failure) => {
                println!("seed {seed}: {}", failure.violation);
                println!("  replay it: cargo run --profile sim -p halley-sim -- replay {seed}");
                failed += 1;
            }
        }
    }
    println!("{seeds} seeds from {from}: {coverage:?}");
    // A fault that never happened proves nothing.
    let c = coverage;
    let covered =
        [c.acknowledged, c.refused, c.kills, c.power_cuts, c.disk_faults, c.delivered, c.dead_lettered];
    if covered.contains(&0) {
        println!("some kind of event never happened");
        failed += 1;
    }
    failed == 0
}

fn replay(seed: u64) -> bool {
    let (history, verdict) = match halley_sim::run(seed, None, true) {
        Ok(outcome) => (outcome.history, None),
        Err(failure) => (failure.history, Some(failure.violation)),
    };
    for line in history {
        println!("{line}");
    }
    match &verdict {
        None => println!("seed {seed}: nothing violated"),
        Some(violation) => println!("seed {seed}: {violation}"),
    }
    verdict.is_none()
}

fn canaries() -> bool {
    let mut good = true;
    for bug in Bug::all() {
        let found = (0..BUDGET).find_map(|seed| Some((seed, halley_sim::run(seed, Some(bug), false).err()?)));
        match found {
            Some((seed, failure)) => println!("{bug:?}: found by seed {seed}: {}", failure.violation),
            None => {
                println!("{bug:?}: NOT found in {BUDGET} seeds");
                good = false;
            }
        }
    }
    good
}
