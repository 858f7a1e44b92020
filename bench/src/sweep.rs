//! Sending at one rate after the other to servers in turn: how latency grows with load, and how they compare.
//!
//! A round loads each server once at each rate, so that what disturbs the machine disturbs them alike; of the rounds stand the
//! least, the median and the most.

use crate::{Error, plot, report::Report, send};
use clap::Args;
use serde::Serialize;
use std::{fmt, io::Write, net::SocketAddr, path::PathBuf, str::FromStr};

/// A server that answers less than this part of the rate is saturated: its latency then grows with the length of the run.
const KEPT_UP: f64 = 0.97;

/// Which servers to load, and how hard.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// A server by its name server, and by its process where CPU time and memory are to be measured; once for each
    #[arg(long = "server", value_name = "NAME=ADDRESS[@PID]", default_value = "halley=127.0.0.1:9876")]
    servers: Vec<Server>,
    /// Messages per second, or `max` for as many as the server takes
    #[arg(long, value_delimiter = ',', default_value = "1000,2000,5000,10000,20000,50000,max")]
    rates: Vec<Rate>,
    /// How often each server is loaded at each rate
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long to measure each time, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long to load before measuring, in seconds; a JVM is slow for much longer when it is new
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Connections to the server
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests in flight on each connection, at `max`
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Size of a message's body in bytes
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Draw latency against rate into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone)]
struct Server {
    name: String,
    peer: SocketAddr,
    pid: Option<u32>,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, place) = text.split_once('=').ok_or("say NAME=ADDRESS, such as halley=127.0.0.1:9876")?;
        let (peer, pid) = match place.split_once('@') {
            None => (place, None),
            Some((peer, pid)) => (peer, Some(pid.parse().map_err(|_| format!("`{pid}` is no process id"))?)),
        };
        let peer = peer.parse().map_err(|_| format!("`{peer}` is no address with a port"))?;
        Ok(Self { name: name.to_owned(), peer, pid })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rate {
    Fixed(f64),
    Max,
}

impl Rate {
    /// `None` for as much as the server takes.
    fn asked(self) -> Option<f64> {
        match self {
            Self::Fixed(rate) => Some(rate),
            Self::Max => None,
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(rate) if rate.is_finite() && rate >= 1.0 => Ok(Self::Fixed(rate)),
            _ => Err(format!("`{text}` is neither messages per second nor `max`")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(rate) => write!(f, "{rate}"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// Least, median and most of some rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first()?, values.last()?);
        Some(Self { min: *first, median: values[values.len() / 2], max: *last })
    }
}

/// One server at one rate.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    pub(crate) server: String,
    /// What was asked for; `None` for as much as it takes.
    pub(crate) asked: Option<f64>,
    /// Messages answered per second.
    pub(crate) rate: Spread,
    pub(crate) p50_micros: Spread,
    pub(crate) p99_micros: Spread,
    pub(crate) p999_micros: Spread,
    /// CPU time of the server per message.
    pub(crate) cpu_micros: Option<Spread>,
    /// Requests refused in all rounds.
    pub(crate) refused: u64,
    /// Whether less was answered than asked for.
    pub(crate) saturated: bool,
}

/// The second server against the first at one rate, round by round: how many times as much.
#[derive(Debug, Clone, Serialize)]
struct Ratio {
    asked: Option<f64>,
    server: String,
    against: String,
    rate: Spread,
    p99: Spread,
    p999: Spread,
    cpu: Option<Spread>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    bytes: usize,
    rounds: usize,
    points: Vec<Point>,
    ratios: Vec<Ratio>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let rounds = arguments.rounds.max(1);
    let (mut points, mut ratios) = (Vec::new(), Vec::new());
    for rate in &arguments.rates {
        let mut reports: Vec<Vec<Report>> = vec![Vec::new(); arguments.servers.len()];
        for round in 1..=rounds {
            for (server, reports) in arguments.servers.iter().zip(&mut reports) {
                eprintln!("{rate} msg/s, round {round} of {rounds}: {}", server.name);
                reports.push(send::measure(&arguments.load(server, *rate)).await?);
            }
        }
        let asked = rate.asked();
        for (server, reports) in arguments.servers.iter().zip(&reports) {
            points.push(point(&server.name, asked, reports)?);
        }
        let first = (&arguments.servers[0], &reports[0]);
        for other in arguments.servers.iter().zip(&reports).skip(1) {
            ratios.push(ratio(asked, first, other)?);
        }
    }
    let outcome = Outcome { bytes: arguments.size, rounds, points, ratios };
    if let Some(file) = &arguments.svg {
        let title = format!("Send {} B: time to the answer by rate", arguments.size);
        std::fs::write(file, plot::latency(&title, &outcome.points))
            .map_err(|error| Error::of(&file.display().to_string(), error))?;
    }
    let mut out = std::io::stdout().lock();
    // A reader that went away is no reason to fail.
    let _ = if arguments.json { print_json(&outcome, &mut out) } else { print_table(&outcome, &mut out) };
    Ok(())
}

impl Arguments {
    fn load(&self, server: &Server, rate: Rate) -> send::Arguments {
        let shape = crate::Shape {
            connections: self.connections.max(1),
            in_flight: self.in_flight,
            rate: rate.asked(),
            seconds: self.seconds,
            warmup: self.warmup,
            server_pid: server.pid,
            json: false,
        };
        send::Arguments::to(server.peer, self.size, shape)
    }
}

fn point(server: &str, asked: Option<f64>, reports: &[Report]) -> Result<Point, Error> {
    let spread = |of: &dyn Fn(&Report) -> f64| {
        Spread::of(reports.iter().map(of)).ok_or_else(|| Error::new("nothing was measured"))
    };
    let rate = spread(&|report| report.rate())?;
    Ok(Point {
        server: server.to_owned(),
        asked,
        rate,
        p50_micros: spread(&|report| report.latency_micros.p50 as f64)?,
        p99_micros: spread(&|report| report.latency_micros.p99 as f64)?,
        p999_micros: spread(&|report| report.latency_micros.p999 as f64)?,
        cpu_micros: Spread::of(reports.iter().filter_map(Report::cpu_per_million)),
        refused: reports.iter().map(|report| report.failed).sum(),
        saturated: asked.is_some_and(|asked| rate.median < asked * KEPT_UP),
    })
}

fn ratio(
    asked: Option<f64>,
    first: (&Server, &Vec<Report>),
    other: (&Server, &Vec<Report>),
) -> Result<Ratio, Error> {
    let of = |of: &dyn Fn(&Report) -> Option<f64>| {
        let rounds = first.1.iter().zip(other.1);
        Spread::of(rounds.filter_map(|(first, other)| Some(of(other)? / of(first)?.max(f64::MIN_POSITIVE))))
    };
    let need = |spread: Option<Spread>| spread.ok_or_else(|| Error::new("nothing was measured"));
    Ok(Ratio {
        asked,
        server: other.0.name.clone(),
        against: first.0.name.clone(),
        rate: need(of(&|report| Some(report.rate())))?,
        p99: need(of(&|report| Some(report.latency_micros.p99 as f64)))?,
        p999: need(of(&|report| Some(report.latency_micros.p999 as f64)))?,
        cpu: of(&Report::cpu_per_million),
    })
}

fn print_json(outcome: &Outcome, out: &mut impl Write) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, outcome)?;
    writeln!(out)
}

/// A table that is also one of Markdown.
fn print_table(outcome: &Outcome, out: &mut impl Write) -> std::io::Result<()> {
    let asked = |asked: Option<f64>| asked.map_or_else(|| "max".to_owned(), |rate| format!("{rate:.0}"));
    let millis = |spread: Spread| {
        let [min, median, max] = [spread.min, spread.median, spread.max].map(|micros| micros / 1000.0);
        format!("{median:.2} ({min:.2}–{max:.2})")
    };
    writeln!(out, "| msg/s asked | server | answered | p50 ms | p99 ms | p99.9 ms | CPU µs per message |")?;
    writeln!(out, "| ---: | --- | ---: | ---: | ---: | ---: | ---: |")?;
    for point in &outcome.points {
        let cpu = point
            .cpu_micros
            .map_or_else(String::new, |cpu| format!("{:.1} ({:.1}–{:.1})", cpu.median, cpu.min, cpu.max));
        writeln!(
            out,
            "| {} | {} | {:.0}{} | {} | {} | {} | {cpu} |",
            asked(point.asked),
            point.server,
            point.rate.median,
            if point.saturated { ", saturated" } else { "" },
            millis(point.p50_micros),
            millis(point.p99_micros),
            millis(point.p999_micros),
        )?;
    }
    if !outcome.ratios.is_empty() {
        writeln!(out, "\n| msg/s asked | times as much | rate | p99 | p99.9 | CPU |")?;
        writeln!(out, "| ---: | --- | ---: | ---: | ---: | ---: |")?;
    }
    let times = |spread: Spread| format!("{:.2} ({:.2}–{:.2})", spread.median, spread.min, spread.max);
    for ratio in &outcome.ratios {
        writeln!(
            out,
            "| {} | {} to {} | {} | {} | {} | {} |",
            asked(ratio.asked),
            ratio.server,
            ratio.against,
            times(ratio.rate),
            times(ratio.p99),
            times(ratio.p999),
            ratio.cpu.map_or_else(String::new, times),
        )?;
    }
    let refused = outcome.points.iter().filter(|point| point.refused > 0);
    for (number, point) in refused.enumerate() {
        let line = if number == 0 { "\n" } else { "" };
        writeln!(
            out,
            "{line}{} refused {} requests at {}.",
            point.server,
            point.refused,
            asked(point.asked)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_rates_are_read() {
        let server: Server = "mq=127.0.0.1:9876@42".parse().unwrap();
        assert_eq!((server.name.as_str(), server.peer.port(), server.pid), ("mq", 9876, Some(42)));
        assert_eq!("mq=127.0.0.1:9876".parse::<Server>().unwrap().pid, None);
        for wrong in ["127.0.0.1:9876", "mq=here", "mq=127.0.0.1:9876@x"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong}");
        }
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2e3".parse(), Ok(Rate::Fixed(2000.0)));
        for wrong in ["0", "-1", "fast", "inf"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn spreads_are_least_median_and_most() {
        let spread = Spread::of([3.0, 1.0, 9.0, 2.0, 5.0].into_iter()).unwrap();
        assert_eq!(spread, Spread { min: 1.0, median: 3.0, max: 9.0 });
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}
