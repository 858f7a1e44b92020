//! SQL92 expressions against the properties of messages, in this process: the CPU time that one message costs one subscription.

use crate::{Error, process};
use clap::Args;
use halley_filter::sql92::Sql92;
use halley_model::property;
use serde::Serialize;
use std::{hint::black_box, io::Write};

/// The load; `bench/Sql92.java` reads the same file.
const LOAD: &str = include_str!("../sql92.txt");

/// Different messages.
const MESSAGES: usize = 1_000;

/// How long to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Rounds; the fastest and the middle one are told
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How often each message meets each expression in a round
    #[arg(long, default_value_t = 1_000)]
    times: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    load: &'static str,
    expressions: usize,
    matched_percent: f64,
    nanoseconds_min: f64,
    nanoseconds_median: f64,
}

/// Measures, and prints nanoseconds of CPU time per message and expression.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Error> {
    let (messages, expressions) = load()?;
    let each = messages.len() * expressions.len();
    let mut matched = 0;
    let mut rounds: Vec<f64> = (0..arguments.rounds.max(1))
        .map(|_| {
            let before = process::usage(None)?.cpu;
            matched = 0;
            for _ in 0..arguments.times.max(1) {
                for message in &messages {
                    for expression in &expressions {
                        matched += usize::from(expression.matches_raw(black_box(message)));
                    }
                }
            }
            let cpu = process::usage(None)?.cpu.saturating_sub(before);
            Ok(cpu.as_nanos() as f64 / (each * arguments.times.max(1)) as f64)
        })
        .collect::<Result<_, Error>>()?;
    rounds.sort_unstable_by(f64::total_cmp);
    let report = Report {
        load: "filter",
        expressions: expressions.len(),
        matched_percent: matched as f64 * 100.0 / (each * arguments.times.max(1)) as f64,
        nanoseconds_min: rounds[0],
        nanoseconds_median: rounds[rounds.len() / 2],
    };
    let text = if arguments.json {
        serde_json::to_string(&report).map_err(Error::new)?
    } else {
        format!(
            "{} expressions, {:.1} % match: {:.1} ns of CPU per message and expression ({:.1} in the middle)",
            report.expressions, report.matched_percent, report.nanoseconds_min, report.nanoseconds_median
        )
    };
    writeln!(std::io::stdout(), "{text}").map_err(Error::new)?;
    Ok(())
}

/// The properties of messages as they stand in records, and the compiled expressions.
fn load() -> Result<(Vec<Vec<u8>>, Vec<Sql92>), Error> {
    let lines = LOAD.lines().filter(|line| !line.starts_with('#'));
    let (properties, expressions): (Vec<_>, Vec<_>) = lines
        .filter(|line| !line.is_empty())
        .partition(|line| line.split_once('=').is_some_and(|(key, _)| is_name(key)));
    let message = |number: usize| {
        let mut raw = Vec::new();
        for (key, value) in properties.iter().filter_map(|line| line.split_once('=')) {
            property::push(&mut raw, key, &value.replace("{i}", &number.to_string()));
        }
        raw
    };
    let compiled: Result<Vec<_>, _> = expressions.iter().map(|text| Sql92::parse(text)).collect();
    Ok(((0..MESSAGES).map(message).collect(), compiled.map_err(Error::new)?))
}

/// Expressions have spaces before their first equals sign.
fn is_name(text: &str) -> bool {
    !text.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_what_it_says() {
        let (messages, expressions) = load().unwrap();
        assert_eq!((messages.len(), expressions.len()), (MESSAGES, 4));
        let of = |number: usize| {
            let message = &messages[number];
            expressions.iter().map(move |expression| expression.matches_raw(message))
        };
        assert!(of(42).eq([false, true, true, false]));
        assert!(of(642).eq([true, true, true, true]));
    }
}
