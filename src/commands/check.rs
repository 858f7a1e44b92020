//! `halley validate` and `halley test`: configurations without a server.

use super::Error;
use crate::cli;
use halley_rules::{Config, Diagnostic, testing};
use serde::Serialize;
use std::{fs, path::Path, process::ExitCode};

/// Exit code for wrong configurations (`EX_CONFIG` of sysexits.h), apart from that of failed tests.
const EXIT_CONFIG: u8 = 78;

/// Reads a configuration, or prints all its errors.
pub(crate) fn load(path: &Path) -> Result<Config, ExitCode> {
    let text = read(path)?;
    halley_rules::load(&text).map_err(|problems| {
        print_problems(path, &text, &problems);
        ExitCode::from(EXIT_CONFIG)
    })
}

fn read(path: &Path) -> Result<String, ExitCode> {
    fs::read_to_string(path).map_err(|error| {
        eprintln!("halley: {}: {error}", path.display());
        ExitCode::from(EXIT_CONFIG)
    })
}

fn print_problems(path: &Path, text: &str, problems: &[Diagnostic]) {
    for problem in problems {
        eprint!("{}", problem.render(&path.display().to_string(), text));
    }
    let s = if problems.len() == 1 { "" } else { "s" };
    eprintln!("{} error{s} in {}", problems.len(), path.display());
}

pub(super) fn validate(arguments: &cli::Validate) -> Result<ExitCode, Error> {
    #[derive(Serialize)]
    struct File<'a> {
        file: String,
        errors: &'a [Diagnostic],
    }
    let mut code = ExitCode::SUCCESS;
    for path in &arguments.files {
        let Ok(text) = read(path) else {
            code = ExitCode::from(EXIT_CONFIG);
            continue;
        };
        let problems = halley_rules::load(&text).err().unwrap_or_default();
        if !problems.is_empty() {
            code = ExitCode::from(EXIT_CONFIG);
        }
        if arguments.json {
            let file = File { file: path.display().to_string(), errors: &problems };
            println!("{}", serde_json::to_string(&file)?);
        } else if problems.is_empty() {
            println!("{}: valid", path.display());
        } else {
            print_problems(path, &text, &problems);
        }
    }
    Ok(code)
}

pub(super) fn test(arguments: &cli::Test) -> Result<ExitCode, Error> {
    let (mut passed, mut failed) = (0, 0);
    for path in &arguments.files {
        let config = match load(path) {
            Ok(config) => config,
            Err(code) => return Ok(code),
        };
        let wanted = |name: &str| arguments.filter.as_ref().is_none_or(|text| name.contains(text.as_str()));
        for outcome in testing::run(&config).into_iter().filter(|outcome| wanted(&outcome.name)) {
            if outcome.failures.is_empty() {
                passed += 1
            } else {
                failed += 1
            }
            if arguments.json {
                println!("{}", serde_json::to_string(&outcome)?);
                continue;
            }
            println!("{} {}", if outcome.failures.is_empty() { "ok    " } else { "FAILED" }, outcome.name);
            for failure in outcome.failures {
                println!("         {failure}");
            }
        }
    }
    if !arguments.json {
        println!("{passed} passed, {failed} failed");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
