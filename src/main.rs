//! The `halley` command: an eventing platform in one process.
//!
//! This package only composes: it reads the command line and the configuration, opens the parts, and joins them.

#![allow(
    clippy::disallowed_methods,
    reason = "the composition root reads files and clocks for the pure parts"
)]

mod admin;
mod cli;
mod commands;
mod logging;
mod roles;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("halley: {error}");
            ExitCode::FAILURE
        }
    }
}
