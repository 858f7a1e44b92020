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
  halley export --to rocketmq --data halley-data OUT
                                          a stopped store as a directory of RocketMQ's
  halley inspect halley-data              what a store's files hold, and what is damaged
  halley backup --data halley-data --to s3://bucket/halley
                                          copy the store of a running server, again only what is new
  halley restore --from s3://bucket/halley --to halley-data
                                          make a store of it, as of now or of a moment before
  halley admin topics list                topics, groups, offsets and clients of a broker
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
    /// Write a stopped store as a directory on which RocketMQ starts
    Export(Export),
    /// Look at the files of a store: what is in them, and what is damaged
    Inspect(Inspect),
    /// Copy a store to a directory or a bucket, also while a server runs on it
    Backup(Backup),
    /// Make a store of a backup, as of its end or of a moment before
    Restore(Restore),
    /// Look at topics, groups, offsets and clients of a broker, and change them
    Admin(Admin),
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

/// What to write, and where.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The form of what is written
    #[arg(long, value_enum)]
    pub(crate) to: ExportForm,
    /// The store, which no server may have open
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The cluster's name, as the broker will have it
    #[arg(long, value_name = "NAME", default_value = "DefaultCluster")]
    pub(crate) cluster: String,
    /// The broker's name, as it will have it
    #[arg(long, value_name = "NAME", default_value = "broker-a")]
    pub(crate) broker_name: String,
    /// Bytes of a file of the log, as the broker's mappedFileSizeCommitLog
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1 << 16..=i32::MAX as u64))]
    pub(crate) file_size: u64,
    /// Print what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The directory to write, which is new or empty
    pub(crate) out: PathBuf,
}

/// Which store to look at. Nothing is changed, and a server may have it open.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The store's directory
    pub(crate) data: PathBuf,
    /// Show the record that lies at this address of the log, instead
    #[arg(long, value_name = "OFFSET")]
    pub(crate) at: Option<u64>,
    /// Print what was found as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const PLACES: &str = "\
A place is a directory, or a bucket: s3://BUCKET or s3://BUCKET/PREFIX. For a bucket the environment has AWS_ACCESS_KEY_ID and \
AWS_SECRET_ACCESS_KEY (or a role has them), AWS_REGION, and AWS_ENDPOINT_URL where it is not Amazon's.";

const BACKUP_EXAMPLES: &str = "\
Examples:
  halley backup --data halley-data --to /backups/halley
  halley backup --data halley-data --to s3://backups/halley --keep 30d --json
  AWS_ENDPOINT_URL=http://127.0.0.1:9000 halley backup --data halley-data --to s3://backups/halley";

const RESTORE_EXAMPLES: &str = "\
Examples:
  halley restore --from /backups/halley --to halley-data
  halley restore --from s3://backups/halley --list       the backups that are there
  halley restore --from s3://backups/halley --to halley-data --at 2026-01-02T03:04:05Z";

/// What to copy, and where. The server may run; what is there already is not copied again.
#[derive(Debug, Args)]
#[command(after_help = format!("{PLACES}\n\n{BACKUP_EXAMPLES}"))]
pub(crate) struct Backup {
    /// The store's directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The place of the backups of this store, and of no other
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: String,
    /// Older moments than so long ago need not be restored any more, as 30d or 12h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) keep: Option<u64>,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to restore, and as of when.
#[derive(Debug, Args)]
#[command(after_help = format!("{PLACES}\n\n{RESTORE_EXAMPLES}"))]
pub(crate) struct Restore {
    /// The place of the backups
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: String,
    /// The directory of the store, which is new or empty
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    pub(crate) to: Option<PathBuf>,
    /// Only what was stored up to this time, as 2026-01-02T03:04:05Z or in milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) at: Option<i64>,
    /// Show the backups that are there, instead
    #[arg(long, conflicts_with_all = ["to", "at"])]
    pub(crate) list: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A duration in milliseconds.
fn parse_duration(text: &str) -> Result<u64, String> {
    halley_rules::duration::parse(text).ok_or_else(|| "a duration is 30d, 12h, 1h30m or the like".to_owned())
}

/// A time as people or programs write it, in milliseconds since 1970.
fn parse_time(text: &str) -> Result<i64, String> {
    let found = text.parse().ok().or_else(|| halley_event::time::parse(text));
    found.ok_or_else(|| "a time is 2026-01-02T03:04:05Z, or a number of milliseconds since 1970".to_owned())
}

/// A form of stores.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ExportForm {
    /// The store of a RocketMQ 5 broker
    Rocketmq,
}

/// What to ask of a broker.
#[derive(Debug, Args)]
#[command(after_help = ADMIN_EXAMPLES)]
pub(crate) struct Admin {
    /// The broker, a Halley or a RocketMQ 5
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911", global = true)]
    pub(crate) broker: String,
    /// The name server, for `cluster`
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9876", global = true)]
    pub(crate) namesrv: String,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

const ADMIN_EXAMPLES: &str = "\
Examples:
  halley admin cluster                                   all brokers of the name server
  halley admin topics create orders --queues 16
  halley admin topics show orders --broker 10.0.0.7:10911
  halley admin consumers topic:orders                    which groups read the topic
  halley admin offsets show billing                      how far a group is, and how far behind
  halley admin offsets reset billing orders --to-latest
  halley admin groups list --json";

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// All brokers, and what they did today
    Cluster,
    /// Topics and their queues
    Topics {
        #[command(subcommand)]
        command: TopicCommand,
    },
    /// Consumer groups and their settings
    Groups {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// What groups have consumed
    Offsets {
        #[command(subcommand)]
        command: OffsetCommand,
    },
    /// The connected clients of a group, or the groups of `topic:NAME`
    Consumers {
        /// The group, or topic:NAME
        group: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// All topics of the broker
    List,
    /// A topic's queues
    Show { topic: String },
    /// Create a topic, or change the number of its queues
    Create {
        topic: String,
        /// Queues to read and to write
        #[arg(long, default_value_t = 8)]
        queues: u16,
        /// An attribute, such as message.type=FIFO
        #[arg(long, value_name = "NAME=VALUE")]
        attribute: Vec<String>,
    },
    /// Delete a topic with its messages and what groups committed in it
    Delete { topic: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// All groups of the broker
    List,
    /// A group's settings
    Show { group: String },
    /// Create a group with the usual settings
    Create { group: String },
    /// Delete a group
    Delete {
        group: String,
        /// Also what it committed
        #[arg(long)]
        offsets: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OffsetCommand {
    /// How far a group is
    Show {
        group: String,
        /// In this topic alone
        topic: Option<String>,
    },
    /// Set a group back or forth; its consumers hear of it at their next pull
    Reset {
        group: String,
        topic: String,
        #[command(flatten)]
        to: ResetTo,
        /// In this queue alone
        #[arg(long)]
        queue: Option<i32>,
    },
}

/// Where to set a group.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetTo {
    /// To the first message that is still there
    #[arg(long)]
    to_earliest: bool,
    /// To the end
    #[arg(long)]
    to_latest: bool,
    /// To what was stored at this time, in milliseconds since the epoch
    #[arg(long, value_name = "MS")]
    to_time: Option<i64>,
    /// To this offset, with --queue
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
}

impl ResetTo {
    /// As request 222 has it: a time, negative for the end, or an offset.
    pub(crate) fn time_and_offset(&self) -> (i64, Option<i64>) {
        match (self.to_earliest, self.to_latest) {
            (true, _) => (0, None),
            (_, true) => (-1, None),
            (false, false) => (self.to_time.unwrap_or(-1), self.to_offset),
        }
    }
}
