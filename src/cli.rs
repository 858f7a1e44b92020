//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// CloudEvents in, declarative rules, a RocketMQ-compatible broker log, reliable delivery out.
#[derive(Debug, Parser)]
#[command(name = "halley", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  halley dev                              everything on loopback, data in ./halley-data
  halley dev examples/quickstart/halley.yaml
  halley serve --config halley.yaml       as the file says
  halley validate halley.yaml             all errors of a configuration, with line and column
  halley test halley.yaml                 run the file's own tests of its rules
  halley bench send --peer 127.0.0.1:9876 load a broker and measure it";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run all roles in one process on loopback with the default ports
    Dev(Dev),
    /// Run the server as a configuration file says
    Serve(Serve),
    /// Check configuration files and report every error with its line and column
    Validate(Validate),
    /// Run the tests that configuration files hold for their rules
    Test(Test),
    /// Load a server and print throughput, latency and CPU cost
    Bench(halley_bench::Arguments),
}

/// How `halley dev` starts.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Buses, routes, rules and targets; without it there is the bus `default`
    pub(crate) file: Option<PathBuf>,
    /// Where the log lies [default: the file's server.data, else halley-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

/// How `halley serve` starts.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

/// Flags of everything that opens ports.
#[derive(Debug, Args)]
pub(crate) struct ServerFlags {
    /// Allow listening on other than loopback addresses without authentication
    #[arg(long)]
    pub(crate) insecure: bool,
    /// The form of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Configuration files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Print errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which tests to run.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Configuration files with a `tests` section
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Print results as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
