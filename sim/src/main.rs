//! `halley-sim`: runs seeds, replays one, and proves that planted bugs are found.

use clap::{Parser, Subcommand};
use halley_sim::{Bug, Coverage};
use halley_store::crash_states::{self, Bounds};
use std::process::ExitCode;

/// How often progress is told, in seeds.
const TELL_EVERY: u64 = 250;

/// One seed of so many is run twice, to show that it decides everything.
const TWICE_EVERY: u64 = 50;

/// Fewer seeds than this need not cover everything.
const COVERING_SEEDS: u64 = 200;

#[derive(Parser)]
#[command(about = "Simulates store, queues and delivery under faults, by seed")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds
    Run {
        /// How many
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// The first
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Run one seed and print what happened
    Replay {
        /// The seed
        seed: u64,
        /// Plant a bug, by its name
        #[arg(long)]
        bug: Option<String>,
    },
    /// Try every state in which a crash may leave the disk, within bounds
    CrashStates,
    /// Plant each known bug and find it
    Canaries {
        /// Most seeds to look for each
        #[arg(long, default_value_t = 3000)]
        seeds: u64,
    },
}

fn main() -> ExitCode {
    // Assertions of the parts are told as violations; their own messages would only repeat it.
    std::panic::set_hook(Box::new(|_| {}));
    let good = match Cli::parse().command {
        Command::Run { seeds, from } => run(from, seeds),
        Command::Replay { seed, bug } => replay(seed, bug.as_deref()),
        Command::CrashStates => crash_states(),
        Command::Canaries { seeds } => canaries(seeds),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(from: u64, seeds: u64) -> bool {
    let (mut coverage, mut failed) = (Coverage::default(), 0);
    for (done, seed) in (from..from.saturating_add(seeds)).enumerate() {
        let report = halley_sim::run(seed, None, false);
        coverage.add(&report.coverage);
        if let Err(violation) = &report.result {
            println!("seed {seed}: {violation}");
            println!("replay it: cargo run --profile sim -p halley-sim -- replay {seed}");
            failed += 1;
        } else if seed.is_multiple_of(TWICE_EVERY) && halley_sim::run(seed, None, false) != report {
            println!("seed {seed} run twice has two histories");
            failed += 1;
        }
        if (done as u64 + 1).is_multiple_of(TELL_EVERY) {
            println!("{} of {seeds} seeds, {failed} failed", done + 1);
        }
    }
    println!("{coverage}");
    let missing = coverage.missing();
    if seeds >= COVERING_SEEDS && !missing.is_empty() {
        println!("never happened, so nothing is proven of it: {}", missing.join(", "));
        return false;
    }
    failed == 0
}

fn replay(seed: u64, bug: Option<&str>) -> bool {
    let named = |bug: &Bug| match bug {
        Bug::Store(canary) => format!("{canary:?}"),
        Bug::Delivery(canary) => format!("{canary:?}"),
        Bug::Pop(canary) => format!("{canary:?}"),
        Bug::Shell(bug) => format!("{bug:?}"),
    };
    let planted = bug.map(|name| Bug::all().into_iter().find(|bug| named(bug) == name));
    if planted == Some(None) {
        let names: Vec<_> = Bug::all().iter().map(named).collect();
        println!("there is no such bug, there are {}", names.join(", "));
        return false;
    }
    let report = halley_sim::run(seed, planted.flatten(), true);
    for line in &report.lines {
        println!("{line}");
    }
    match &report.result {
        Ok(()) => println!("seed {seed}: nothing broken, hash {:016x}", report.hash),
        Err(violation) => println!("seed {seed}: {violation}"),
    }
    report.result.is_ok()
}

fn crash_states() -> bool {
    let bounds = Bounds::WIDE;
    println!("{bounds:?}");
    let mut all_good = match crash_states::run(&bounds, None) {
        Ok(tried) => {
            println!("no promise broken: {tried:?}");
            true
        }
        Err(broken) => {
            println!("{broken}");
            false
        }
    };
    for canary in crash_states::FINDS {
        match crash_states::run(&bounds, Some(canary)) {
            Err(broken) => println!("{canary:?}: found: {broken}"),
            Ok(_) => {
                println!("{canary:?}: not found");
                all_good = false;
            }
        }
    }
    all_good
}

fn canaries(seeds: u64) -> bool {
    let mut all_found = true;
    for bug in Bug::all() {
        let mut reports = (0..seeds).map(|seed| halley_sim::run(seed, Some(bug), false));
        match reports.find_map(|report| Some((report.seed, report.result.err()?))) {
            Some((seed, violation)) => println!("{bug:?}: found by seed {seed}: {violation}"),
            None => {
                println!("{bug:?}: not found by {seeds} seeds");
                all_found = false;
            }
        }
    }
    all_found
}
