//! `halley inspect` on the files of a real server: while it runs, after it, and when they are damaged.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::Server;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn inspect(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_halley")).arg("inspect").arg(data).args(arguments).output().unwrap()
}

fn as_json(data: &Path) -> (i32, Value) {
    let output = inspect(data, &["--json"]);
    let shown = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), shown)
}

fn segment(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).min().unwrap()
}

#[test]
fn what_is_there_and_what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start_in(&data, "");
    for id in 0..20 {
        assert_eq!(server.post_event("/", &id.to_string(), "hello").status, 202);
    }
    let (code, running) = as_json(&data);
    assert_eq!((code, &running["damaged"], &running["findings"]), (0, &false.into(), &Value::Array(vec![])));
    assert!(server.terminate().success());

    let (code, stopped) = as_json(&data);
    assert_eq!(code, 0, "{stopped}");
    assert!(stopped["snapshots"].as_array().unwrap().iter().any(|snapshot| snapshot["whole"] == true));
    let text = String::from_utf8(inspect(&data, &[]).stdout).unwrap();
    assert!(text.starts_with("SEGMENT") && text.contains("everything is as it should be"), "{text}");

    // A record in the middle: found, shown, and then damaged.
    let path = segment(&data);
    let bytes = fs::read(&path).unwrap();
    let body = bytes.windows(5).position(|window| window == b"hello").unwrap();
    let shown = inspect(&data, &["--at", &body.to_string()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("topic          BUS_default") && shown.contains("ce_id"), "{shown}");
    let nothing = inspect(&data, &["--at", "999999999"]);
    assert!(
        !nothing.status.success() && String::from_utf8_lossy(&nothing.stderr).contains("no readable record")
    );
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"J", body as u64).unwrap();
    let (code, damaged) = as_json(&data);
    assert_eq!((code, &damaged["damaged"]), (65, &true.into()), "{damaged}");
    let what = damaged["findings"][0]["what"].as_str().unwrap();
    assert!(what.contains("crc does not match") && what.contains("the log goes on at"), "{what}");
    let text = String::from_utf8(inspect(&data, &[]).stdout).unwrap();
    assert!(text.contains("DAMAGED"), "{text}");
    file.write_all_at(b"h", body as u64).unwrap();
    assert_eq!(as_json(&data), (0, stopped));

    let nowhere = inspect(dir.path(), &[]);
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("holds no store"), "{nowhere:?}");
}
