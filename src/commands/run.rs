//! `halley dev` and `halley serve`: the server, from start to stop.

use super::{Error, check};
use crate::{cli, logging, roles};
use halley_rules::{Config, config::Server};
use std::{path::PathBuf, process::ExitCode};

/// Where `halley dev` stores without being told.
const DEV_DATA: &str = "halley-data";

pub(super) fn dev(arguments: cli::Dev) -> Result<ExitCode, Error> {
    let cli::Dev { file, data, server } = arguments;
    let config = match file.map(|file| check::load(&file)) {
        None => Config::default(),
        Some(Ok(config)) => config,
        Some(Err(code)) => return Ok(code),
    };
    let data =
        data.or_else(|| config.server.data.clone().map(PathBuf::from)).unwrap_or_else(|| DEV_DATA.into());
    start(config, data, &server, true)
}

pub(super) fn serve(arguments: cli::Serve) -> Result<ExitCode, Error> {
    let config = match check::load(&arguments.config) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let Some(data) = config.server.data.clone() else {
        return Err(format!(
            "{}: `server.data` must name the directory of the log",
            arguments.config.display()
        )
        .into());
    };
    start(config, data.into(), &arguments.server, false)
}

fn start(config: Config, data: PathBuf, flags: &cli::ServerFlags, greet: bool) -> Result<ExitCode, Error> {
    refuse_exposed(&config.server, flags.insecure)?;
    logging::start(flags.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let failed = runtime.block_on(async {
        let running = roles::start(config, data).await?;
        if greet {
            running.greet();
        }
        Ok::<_, Error>(running.run_until_stopped().await)
    })?;
    // Reads that still block on the disk are not waited for.
    runtime.shutdown_background();
    Ok(match failed {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

/// Nobody beyond this machine gets in without someone having said so: there is no authentication yet.
fn refuse_exposed(server: &Server, insecure: bool) -> Result<(), Error> {
    match server.exposed().first() {
        Some((key, address)) if !insecure => Err(format!(
            "{key} is {address}, which others than this machine can reach without authentication: \
             listen on a loopback address, or allow it with --insecure"
        )
        .into()),
        _ => Ok(()),
    }
}
