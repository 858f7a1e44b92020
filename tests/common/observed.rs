//! What the tests saw, for `scripts/compat.py` to make `docs/compat.md` of. Each test binary appends to a file of its own.

use serde_json::Value;
use std::{fs, io::Write, path::Path};

/// Appends a line.
pub fn write(line: &Value) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compat");
    fs::create_dir_all(&folder).unwrap();
    let program = std::env::current_exe().unwrap();
    let name = program.file_name().unwrap().to_string_lossy();
    let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
    let mut file =
        fs::File::options().create(true).append(true).open(folder.join(format!("{name}.jsonl"))).unwrap();
    // One write, so that lines of threads do not mix.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Keeps which requests a server was asked, out of its metrics.
pub fn requests(metrics: &str) {
    for line in metrics.lines().filter(|line| line.starts_with("halley_remoting_requests_total{")) {
        write(&serde_json::json!({"requests": line}));
    }
}
