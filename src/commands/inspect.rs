//! `halley inspect`: the files of a store.

use super::{Error, table::Table};
use crate::cli;
use halley_broker::inspect::{self, Cache, Finding, Inspection, SegmentReport, Weight};
use halley_event::time;
use halley_model::{Millis, RecordView, property};
use serde_json::{Value, json};
use std::{fmt::Write, io::IsTerminal, process::ExitCode};

/// Exit code where records cannot be read (`EX_DATAERR` of sysexits.h).
const EXIT_DAMAGED: u8 = 65;

pub(super) fn run(arguments: &cli::Inspect) -> Result<ExitCode, Error> {
    if let Some(at) = arguments.at {
        return show_record(arguments, at);
    }
    let terminal = std::io::stderr().is_terminal();
    let mut told = u64::MAX;
    let found = inspect::store(&arguments.data, &mut |done, total| {
        if terminal && done >> 20 != told {
            told = done >> 20;
            eprint!("\r{told} of {} MiB", total >> 20);
        }
    })?;
    if terminal {
        eprintln!();
    }
    print!("{}", if arguments.json { format!("{:#}\n", as_json(&found)) } else { as_text(&found) });
    Ok(if found.is_damaged() { ExitCode::from(EXIT_DAMAGED) } else { ExitCode::SUCCESS })
}

fn as_text(found: &Inspection) -> String {
    let mut segments = Table::new(&[
        "segment",
        "ends",
        "frames",
        "records",
        "opened",
        "first_record",
        "last_record",
        "index",
        "keys",
    ]);
    for segment in &found.segments {
        let SegmentReport { base, end, frames, records, epochs, stored, index, keys, .. } = segment;
        let (first, last) = stored.unzip();
        let shown = |time: Option<Millis>| time.map_or(Value::Null, |time| time::format(time).into());
        let opened = format!("{} to {}", epochs.0, epochs.1);
        segments.row([
            (*base).into(),
            (*end).into(),
            (*frames).into(),
            (*records).into(),
            opened.into(),
            shown(first),
            shown(last),
            cache_text(*index).into(),
            cache_text(*keys).into(),
        ]);
    }
    let mut text = segments.text(false);
    if !found.snapshots.is_empty() {
        let mut snapshots = Table::new(&["snapshot", "bytes", "state"]);
        for snapshot in &found.snapshots {
            let state = if snapshot.is_whole { "whole" } else { "damaged" };
            snapshots.row([snapshot.at.into(), snapshot.file_bytes.into(), state.into()]);
        }
        let _ = write!(text, "\n{}", snapshots.text(false));
    }
    let records: u64 = found.segments.iter().map(|segment| segment.records).sum();
    let _ = writeln!(text, "\n{records} records in {} queues, the log ends at {}", found.queues, found.end);
    for Finding { weight, path, at, what } in &found.findings {
        let _ = writeln!(text, "{}: {path}, log offset {at}: {what}", weight_text(*weight));
    }
    let _ = match (found.is_damaged(), found.findings.is_empty()) {
        (true, _) => writeln!(
            text,
            "DAMAGED: records that were stored cannot be read; restore the files from another copy"
        ),
        (false, true) => writeln!(text, "everything is as it should be"),
        (false, false) => writeln!(text, "no record is lost; the next start puts this right"),
    };
    text
}

fn as_json(found: &Inspection) -> Value {
    let segments: Vec<_> = found
        .segments
        .iter()
        .map(|segment| {
            let (first, last) = segment.stored.unzip();
            json!({
                "base": segment.base, "end": segment.end, "fileBytes": segment.file_bytes, "created": segment.created,
                "frames": segment.frames, "records": segment.records, "firstEpoch": segment.epochs.0,
                "lastEpoch": segment.epochs.1, "firstStored": first, "lastStored": last,
                "index": cache_text(segment.index), "keys": cache_text(segment.keys),
            })
        })
        .collect();
    let snapshots: Vec<_> = found
        .snapshots
        .iter()
        .map(|snapshot| json!({"at": snapshot.at, "fileBytes": snapshot.file_bytes, "whole": snapshot.is_whole}))
        .collect();
    let findings: Vec<_> = found
        .findings
        .iter()
        .map(|Finding { weight, path, at, what }| {
            json!({"weight": weight_text(*weight), "path": path, "logOffset": at, "what": what})
        })
        .collect();
    json!({
        "segments": segments, "snapshots": snapshots, "findings": findings, "end": found.end, "queues": found.queues,
        "damaged": found.is_damaged(),
    })
}

fn show_record(arguments: &cli::Inspect, at: u64) -> Result<ExitCode, Error> {
    let Some(bytes) = inspect::record(&arguments.data, at)? else {
        return Err(format!("no readable record lies at {at}").into());
    };
    let record = RecordView::parse(&bytes)?;
    let properties: Vec<_> = property::iter(record.properties()).collect();
    if arguments.json {
        let properties: serde_json::Map<_, _> =
            properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let shown = json!({
            "logOffset": record.log_offset(), "bytes": record.total_len(), "topic": record.topic(),
            "queue": record.queue(), "queueOffset": record.queue_offset(), "born": record.born(),
            "stored": record.stored(), "systemFlag": record.system_flag(), "reconsumeTimes": record.reconsume_times(),
            "properties": properties, "body": String::from_utf8_lossy(record.body()),
            "bodyIntact": record.body_is_intact(),
        });
        println!("{shown:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("record         {} to {}", record.log_offset(), record.log_offset() + record.total_len() as u64);
    println!("topic          {}", record.topic());
    println!("queue          {} at {}", record.queue(), record.queue_offset());
    println!("born           {}", time::format(record.born()));
    println!("stored         {}", time::format(record.stored()));
    println!("reconsumed     {} times", record.reconsume_times());
    for (key, value) in properties {
        println!("property       {key} = {value}");
    }
    let intact = if record.body_is_intact() { "" } else { ", its CRC is wrong" };
    println!(
        "body           {} bytes{intact}\n{}",
        record.body().len(),
        String::from_utf8_lossy(record.body())
    );
    Ok(ExitCode::SUCCESS)
}

fn cache_text(cache: Cache) -> &'static str {
    match cache {
        Cache::Whole => "whole",
        Cache::Missing => "missing",
        Cache::Wrong => "wrong",
        Cache::NotYet => "in memory",
    }
}

fn weight_text(weight: Weight) -> &'static str {
    match weight {
        Weight::Mended => "mended at start",
        Weight::Damage => "damage",
    }
}
