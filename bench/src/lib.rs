//! `halley bench`: loads brokers and ingresses and measures them.
//!
//! Two ways to load: *closed loop* keeps a number of requests in flight and shows how much a server can do; *fixed
//! rate* sends at planned times and counts latency from the planned time, so that a stall of the server is not
//! hidden by a generator that waits with it (coordinated omission). Next to rate and latency stands what the load
//! cost the server: CPU seconds per million messages, and memory.

#![allow(clippy::disallowed_methods, reason = "a load generator has clocks, sockets and processes")]

mod baseline;
mod deliver;
mod filter;
mod floor;
mod ingress;
mod load;
mod mixed;
mod plot;
mod pop;
mod process;
mod pull;
mod remoting;
mod report;
mod send;
mod sweep;
mod timers;
mod topics;

use clap::{Args, Subcommand};
use std::{process::ExitCode, time::Duration};

/// What to load, and how.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Send messages to a broker over Remoting
    Send(send::Arguments),
    /// Send at one rate after the other, to several servers in turn, and show how latency grows
    Sweep(sweep::Arguments),
    /// Fill a topic, then pull it all in batches of 32 and check it
    Pull(pull::Arguments),
    /// Send and receive at a fixed rate, with and without consumers that replay old messages
    Mixed(mixed::Arguments),
    /// Fill a topic, then pop it all in batches of 32, acknowledge each message and check it
    Pop(pop::Arguments),
    /// Store timers, then receive them and see how late they are
    Timers(timers::Arguments),
    /// Create many topics and store a message in each of their queues (latency: of a window of 64)
    Topics(topics::Arguments),
    /// Post CloudEvents over HTTP
    Ingress(ingress::Arguments),
    /// Post CloudEvents and receive them again at an HTTP target
    Deliver(deliver::Arguments),
    /// Match SQL92 expressions with the properties of messages, in this process
    Filter(filter::Arguments),
    /// Serve the least a broker can do for the same bytes, as a yardstick for `send`
    Floor(floor::Arguments),
    /// Serve the least an HTTP server can do, as a yardstick for `ingress`
    Baseline(baseline::Arguments),
}

/// How a load is shaped, the same for all loads.
#[derive(Debug, Clone, Args)]
struct Shape {
    /// Connections to the server
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests in flight on each connection, in closed loop
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Messages per second over all connections; without it as many as the server takes (closed loop)
    #[arg(long)]
    rate: Option<f64>,
    /// How long to measure, in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to load before measuring, in seconds
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// The server's process, to measure its CPU time and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Shape {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.max(0.1))
    }

    fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup.max(0.0))
    }
}

/// Why a load could not be run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(what: impl std::fmt::Display) -> Self {
        Self(what.to_string())
    }

    fn of(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// Runs the load and prints its result. Fails where the server was not reached, or a check of what came back failed.
pub fn run(arguments: Arguments) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Error::of("no runtime", error))?;
    runtime.block_on(async {
        match arguments.load {
            Load::Send(arguments) => send::run(arguments).await,
            Load::Sweep(arguments) => sweep::run(arguments).await,
            Load::Pull(arguments) => pull::run(arguments).await,
            Load::Mixed(arguments) => mixed::run(arguments).await,
            Load::Pop(arguments) => pop::run(arguments).await,
            Load::Timers(arguments) => timers::run(arguments).await,
            Load::Topics(arguments) => topics::run(arguments).await,
            Load::Ingress(arguments) => ingress::run(arguments).await,
            Load::Deliver(arguments) => deliver::run(arguments).await,
            Load::Filter(arguments) => filter::run(&arguments),
            Load::Floor(arguments) => floor::run(arguments).await,
            Load::Baseline(arguments) => baseline::run(arguments).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
