//! What each command does.

mod admin;
mod backup;
mod check;
mod export;
mod inspect;
mod run;
mod table;

use crate::cli::{Cli, Command};
use std::process::ExitCode;

/// An error for people: the message says what was wrong and what to do.
pub(crate) type Error = Box<dyn std::error::Error>;

pub(crate) fn run(cli: Cli) -> Result<ExitCode, Error> {
    match cli.command {
        Command::Dev(arguments) => run::dev(arguments),
        Command::Serve(arguments) => run::serve(arguments),
        Command::Validate(arguments) => check::validate(&arguments),
        Command::Test(arguments) => check::test(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Admin(arguments) => admin::run(arguments),
        Command::Bench(arguments) => Ok(halley_bench::run(arguments)?),
    }
}
