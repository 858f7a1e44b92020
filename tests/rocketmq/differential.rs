//! Asks a real RocketMQ 5.5.0 and Halley the same, and compares their answers field by field.
//!
//! `differential/scripts.rs` has the requests, `differential/differences.rs` where Halley may answer otherwise and why. A new
//! request code is a few lines in the first; a row of the second that no longer holds fails the test.

mod administration;
mod brokers;
pub(crate) mod compare;
mod differences;
pub(crate) mod script;
mod scripts;

use crate::common::{Server, oracle::Oracle};
use compare::Difference;
use differences::Row;
use halley_wire::Serialize;
use script::{Pair, Role, Script};
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn halley_answers_like_rocketmq() {
    let Some(oracle) = Oracle::start("recallMessageEnable=true") else { return };
    let halley = Server::start("");
    // Names a script to run alone, while one works on it; all its differences are shown then.
    let only = std::env::var("DIFFERENTIAL").ok();
    let mut found = Vec::new();
    let mut asked = Vec::new();
    for Script { name, steps } in scripts::all() {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        for serialize in [Serialize::Json, Serialize::Binary] {
            let mut pair = Pair::new(&oracle, &halley, serialize, |difference| {
                differences::row_of(difference).is_some()
            });
            for step in &steps {
                found.extend(pair.step(name, step));
            }
            asked.append(&mut pair.asked);
        }
    }
    if only.is_some() {
        found.iter().for_each(|difference| println!("{difference}"));
    }
    let is_found = |row: &&Row| found.iter().any(|difference| row.covers(difference));
    let outdated = differences::rows().filter(|row| only.is_none() && !is_found(row));
    let unexpected = found.iter().filter(|difference| differences::row_of(difference).is_none());
    let wrong: Vec<_> = unexpected.map(Difference::to_string).chain(outdated.map(Row::to_string)).collect();
    println!("{} requests, {} differences in {} rows", asked.len(), found.len(), differences::rows().count());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if only.is_none() {
        observe(&asked, &found);
    }
}

/// Keeps what was compared, and where the answers differ.
fn observe(asked: &[(String, Role, i32)], found: &[Difference]) {
    let compared: BTreeSet<_> = asked.iter().map(|(_, role, code)| (role, code)).collect();
    for (role, code) in compared {
        crate::common::observed::write(&json!({"compared": {"role": role, "code": code}}));
    }
    for row in differences::rows() {
        let cases: BTreeSet<_> =
            found.iter().filter(|found| row.covers(found)).map(|found| &found.case).collect();
        let of_row = asked.iter().filter(|(case, ..)| cases.contains(case));
        let codes: BTreeSet<_> = of_row.map(|(_, role, code)| (role, code)).collect();
        crate::common::observed::write(&json!({"difference": {
            "codes": codes, "where": row.place(), "why": row.reason(), "stays": differences::stays(row),
        }}));
    }
}

#[test]
fn bodies_are_read_as_fastjson_writes_them() {
    let body = br#"{0:"a\"b",-1:[1, 2.5,true,null,{}], {"queueId":3,"topic":"T"} : {"maxOffset":7}}"#;
    let expected = serde_json::json!({
        "0": "a\"b",
        "-1": [1, 2.5, true, null, {}],
        "{\"queueId\":3,\"topic\":\"T\"}": {"maxOffset": 7},
    });
    assert_eq!(crate::common::fastjson::parse(body), Some(expected));
    for wrong in ["", "{", "[1", "{\"a\"}", "{} {}", "\"a", "nothing"] {
        assert_eq!(crate::common::fastjson::parse(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn differences_are_found_at_their_paths() {
    let left = serde_json::json!({"code": 0, "ext": {"a": "1", "b": "2"}, "body": [{"x": 1}, 2]});
    let right = serde_json::json!({"code": 1, "ext": {"b": "2", "c": "3"}, "body": [{"x": 2}, 2, 3]});
    let found: Vec<_> = compare::differences("s/c", &left, &right);
    let paths: Vec<_> = found.iter().map(|Difference { path, .. }| path.as_str()).collect();
    assert_eq!(paths, ["body.0.x", "body.2", "code", "ext.a", "ext.c"]);
    assert!(compare::differences("s/c", &left, &left).is_empty());
}
