//! `halley export`: a stopped store in the form of another server.

use super::Error;
use crate::cli;
use halley_broker::export::{self, Options, Report};
use std::{io::IsTerminal, process::ExitCode};

pub(super) fn run(arguments: &cli::Export) -> Result<ExitCode, Error> {
    let cli::ExportForm::Rocketmq = arguments.to;
    let options = Options {
        data: arguments.data.clone(),
        out: arguments.out.clone(),
        cluster: arguments.cluster.clone(),
        name: arguments.broker_name.clone(),
        file_bytes: arguments.file_size,
    };
    let terminal = std::io::stderr().is_terminal();
    let report = export::to_rocketmq(&options, &mut |done, total| {
        if terminal {
            eprint!("\r{} of {} MiB", done >> 20, total >> 20);
        }
    })?;
    if terminal {
        eprintln!();
    }
    let Report { messages, bytes, topics, groups, offsets, timers, transactions, in_flight } = report;
    if arguments.json {
        let summary = serde_json::json!({
            "messages": messages, "bytes": bytes, "topics": topics, "groups": groups, "offsets": offsets,
            "timers": timers, "transactions": transactions, "inFlight": in_flight,
        });
        println!("{summary}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{messages} messages, {topics} topics, {groups} groups, {offsets} committed offsets");
    println!("{timers} delayed messages, {transactions} open transactions, {in_flight} popped messages");
    println!("Start RocketMQ with");
    println!("  storePathRootDir={}", arguments.out.display());
    println!("  storePathCommitLog={}/commitlog", arguments.out.display());
    println!("  mappedFileSizeCommitLog={}", arguments.file_size);
    println!("  brokerClusterName={}", arguments.cluster);
    println!("  brokerName={}", arguments.broker_name);
    Ok(ExitCode::SUCCESS)
}
