//! `halley backup` and `halley restore`.

use super::{Error, table::Table};
use crate::cli;
use halley_broker::backup::{self, Backup, Manifest, Objects, RestoreError, Restored, Tidied};
use halley_event::time;
use halley_objects_s3::S3;
use serde_json::{Value, json};
use std::{io::IsTerminal, path::Path, process::ExitCode};

pub(super) fn backup(arguments: &cli::Backup) -> Result<ExitCode, Error> {
    let from = backup::source(&arguments.data)?;
    let to: Box<dyn Objects> = match arguments.to.starts_with("s3://") {
        true => Box::new(S3::open(&arguments.to)?),
        false => Box::new(backup::directory(Path::new(&arguments.to))?),
    };
    let mut progress = Progress::new();
    let done = backup::backup(&from, to.as_ref(), &mut |done, total| progress.tell(done, total));
    progress.end();
    let Backup { taken, begin, end, records, segments, segments_copied, bytes_copied } = done?;
    let tidied = backup::tidy(to.as_ref(), arguments.keep).unwrap_or_else(|error| {
        eprintln!("halley: the backup is complete, but what is not needed any more was not removed: {error}");
        Tidied::default()
    });
    if arguments.json {
        let summary = json!({
            "taken": taken, "begin": begin, "end": end, "records": records, "segments": segments,
            "segmentsCopied": segments_copied, "bytesCopied": bytes_copied, "bytesRemoved": tidied.bytes,
        });
        println!("{summary}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("backed up as of {}: {records} records, the log from {begin} to {end}", time::format(taken));
    println!("{segments_copied} of {segments} segments copied, {bytes_copied} bytes");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn restore(arguments: &cli::Restore) -> Result<ExitCode, Error> {
    let from: Box<dyn Objects> = match arguments.from.starts_with("s3://") {
        true => Box::new(S3::open(&arguments.from)?),
        false => Box::new(backup::directory_to_read(Path::new(&arguments.from))?),
    };
    let Some(data) = arguments.to.as_ref().filter(|_| !arguments.list) else {
        return list(from.as_ref(), arguments.json);
    };
    let to = backup::target(data)?;
    let mut progress = Progress::new();
    let done =
        backup::restore(from.as_ref(), &to, arguments.at, &mut |done, total| progress.tell(done, total));
    progress.end();
    let Restored { taken, begin, end, records, latest, bytes } = done.map_err(|error| told(&error))?;
    if arguments.json {
        let summary = json!({
            "taken": taken, "begin": begin, "end": end, "records": records, "latest": latest, "bytes": bytes,
        });
        println!("{summary}");
        return Ok(ExitCode::SUCCESS);
    }
    let latest = latest.map_or_else(|| "none".to_owned(), time::format);
    println!("restored {records} records, the last one of {latest}; the log from {begin} to {end}");
    println!("Start it with `server.data: {}`", data.display());
    Ok(ExitCode::SUCCESS)
}

/// An error with the times that it is about.
fn told(error: &RestoreError) -> String {
    match error {
        RestoreError::TooLate { taken } => format!("{error}, at {}", time::format(*taken)),
        RestoreError::TooEarly { taken } => format!("{error}, at {}", time::format(*taken)),
        error => error.to_string(),
    }
}

fn list(from: &dyn Objects, json: bool) -> Result<ExitCode, Error> {
    let mut table = Table::new(&["taken", "begins", "ends", "segments", "records"]);
    for manifest in backup::manifests(from)? {
        let (end, records) = (manifest.end(), manifest.records());
        let Manifest { taken, begin, stretches } = manifest;
        let taken = if json { Value::from(taken) } else { time::format(taken).into() };
        table.row([taken, begin.into(), end.into(), stretches.len().into(), records.into()]);
    }
    print!("{}", table.text(json));
    Ok(ExitCode::SUCCESS)
}

/// Tells a terminal how far it is.
struct Progress {
    is_terminal: bool,
    told: u64,
}

impl Progress {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), told: u64::MAX }
    }

    fn tell(&mut self, done: u64, total: u64) {
        if self.is_terminal && done >> 20 != self.told {
            self.told = done >> 20;
            eprint!("\r{} of {} MiB", self.told, total >> 20);
        }
    }

    fn end(&self) {
        if self.is_terminal && self.told != u64::MAX {
            eprintln!();
        }
    }
}
