//! Every decoder of bytes that Halley did not write itself, as a plain function that must return for any input.
//!
//! The same functions run under libFuzzer (`fuzz_targets/`, see `just fuzz`) and under `replay`, which needs nothing but the
//! stable toolchain: it runs the committed seeds and then mutations of them for a while. A target checks more than "no
//! panic" where it cheaply can: what was decoded is encoded again and must come back the same.
//!
//! A new decoder gets a function in `targets/`, a line in [`TARGETS`], a file in `fuzz_targets/` and seeds in
//! `seeds/<target>/`; `replay` refuses to run while one of them is missing.

#![forbid(unsafe_code)]

pub mod mutate;
pub mod targets;

use targets::{delivery, event, filter, machine, model, rules, store, takeover, wire};

/// One decoder under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: the file in `fuzz_targets/` and the folder in `seeds/`.
    pub name: &'static str,
    /// Decodes the input. Panics, aborts, endless loops and unbounded memory are findings; errors are not.
    pub run: fn(&[u8]),
    /// Valid inputs, written to `seeds/` by `replay --write-seeds`.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Byte strings that mean something to the decoder, mixed into mutations.
    pub words: &'static [&'static str],
}

/// All targets, in the order in which data flows.
pub const TARGETS: &[Target] = &[
    Target { name: "record", run: model::record, seeds: model::record_seeds, words: &["TAGS\x01", "\x02"] },
    Target {
        name: "properties",
        run: model::properties,
        seeds: model::properties_seeds,
        words: &["TAGS\x01", "KEYS\x01", "ce_id\x01", "\x02"],
    },
    Target { name: "names", run: model::names, seeds: model::names_seeds, words: &["%RETRY%", "%DLQ%", "|"] },
    Target {
        name: "remoting_frame",
        run: wire::remoting_frame,
        seeds: wire::remoting_frame_seeds,
        words: &[
            "\"extFields\":{",
            "\"opaque\":",
            "\"code\":",
            "\"flag\":",
            "\\u0000",
            "\\ud83e",
            ":null",
            "}}",
        ],
    },
    Target {
        name: "remoting_headers",
        run: wire::remoting_headers,
        seeds: wire::remoting_headers_seeds,
        words: &[
            "\"a\":\"",
            "\"properties\":\"",
            "\"queueId\":\"-1\"",
            "2147483648",
            "9223372036854775808",
            "true",
            "LOWER",
            "\\u0001",
        ],
    },
    Target {
        name: "remoting_bodies",
        run: wire::remoting_bodies,
        seeds: wire::remoting_bodies_seeds,
        words: &["null", "{0:\"", "\"subscriptionDataSet\":[", "\"codeSet\":[", "[[[[", "\":{"],
    },
    Target { name: "batch_body", run: wire::batch_body, seeds: wire::batch_body_seeds, words: &["\0\0\0"] },
    Target {
        name: "sql92",
        run: filter::sql92,
        seeds: filter::sql92_seeds,
        words: &[
            " AND ",
            " OR ",
            " NOT ",
            " BETWEEN ",
            " IN (",
            "'",
            " IS NULL",
            " CONTAINS ",
            " STARTSWITH ",
            "1e308",
            "0x",
            "((((",
            "\0",
            "9223372036854775808",
            "--",
            "/*",
        ],
    },
    Target { name: "tag", run: filter::tag, seeds: filter::tag_seeds, words: &["||", " ", "*", "\0"] },
    Target {
        name: "cloudevent_http",
        run: event::cloudevent_http,
        seeds: event::cloudevent_http_seeds,
        words: &["ce-", "\nce-time: ", "%E2%82%AC", "%00", "\"", "application/cloudevents+json", "\n\n"],
    },
    Target {
        name: "cloudevent_json",
        run: event::cloudevent_json,
        seeds: event::cloudevent_json_seeds,
        words: &[
            "\"data\":",
            "\"data_base64\":\"",
            "\"datacontenttype\":\"text/plain\",",
            "\"datacontentencoding\":\"base64\",",
            "null",
            "\\u0000",
            "\\ud800",
            "\"specversion\":\"0.3\"",
            "1e9",
            "[[[[",
        ],
    },
    Target {
        name: "stored_event",
        run: event::stored_event,
        seeds: event::stored_event_seeds,
        words: &[
            "ce_specversion\x011.0\x02",
            "ce_",
            "ce_data\x01x\x02",
            "ce_time\x01x\x02",
            "ce_datacontenttype\x01",
            "\u{feff}",
            "\u{fdd0}",
        ],
    },
    Target {
        name: "yaml_config",
        run: rules::yaml_config,
        seeds: rules::yaml_config_seeds,
        words: &[
            "&a ",
            "*a",
            ": ",
            "\n  - ",
            "{",
            "}",
            "|\n",
            "!!binary ",
            "<<: ",
            "# ",
            "'",
            "${",
            "key:",
            "PT",
            "5xx",
            "\u{85}",
            "\t",
        ],
    },
    Target {
        name: "log_recovery",
        run: store::log_recovery,
        seeds: store::log_recovery_seeds,
        words: &["HLF1"],
    },
    Target {
        name: "index_sidecar",
        run: store::index_sidecar,
        seeds: store::index_sidecar_seeds,
        words: &["HLX1"],
    },
    Target {
        name: "foreign_log",
        run: store::foreign_log,
        seeds: store::foreign_log_seeds,
        words: &["\0\0"],
    },
    Target {
        name: "takeover_files",
        run: takeover::takeover_files,
        seeds: takeover::takeover_files_seeds,
        words: &["\"offsetTable\":{", "{0:", "@", "null", "-1", "\"topicName\":\"", "\"groupName\":\""],
    },
    Target {
        name: "takeover_records",
        run: takeover::takeover_records,
        seeds: takeover::takeover_records_seeds,
        words: &[
            "\"so\":",
            "\"pt\":",
            "\"d\":[",
            "\"n\":",
            "18446744073709551615",
            "9223372036854775807",
            ",",
            "-",
        ],
    },
    Target { name: "key_file", run: store::key_file, seeds: store::key_file_seeds, words: &["HLK1"] },
    Target {
        name: "backup_manifest",
        run: store::backup_manifest,
        seeds: store::backup_manifest_seeds,
        words: &["segment ", "begin ", "\ncrc ", " 18446744073709551615 "],
    },
    Target { name: "snapshot", run: store::snapshot, seeds: store::snapshot_seeds, words: &["HLS1"] },
    Target {
        name: "broker_state",
        run: machine::broker_state,
        seeds: machine::broker_state_seeds,
        words: &["\"topics\":[", "\"offsets\":[", "\"queue\":", "\"metadata\":"],
    },
    Target {
        name: "pop_info",
        run: wire::pop_info,
        seeds: wire::pop_info_seeds,
        words: &["999", " 0 ", ";", ",", "\n"],
    },
    Target {
        name: "pop_cursor",
        run: machine::pop_cursor,
        seeds: machine::pop_cursor_seeds,
        words: &["\"pop\":1", "\"next\":", "\"open\":[[", "\"order\":{", "9223372036854775807", "]]"],
    },
    Target {
        name: "delayed",
        run: machine::delayed,
        seeds: machine::delayed_seeds,
        words: &[
            "DELAY\x01",
            "TIMER_DELAY_MS\x01",
            "TIMER_OUT_MS\x01",
            "REAL_TOPIC\x01",
            "REAL_QID\x01",
            "\x02",
        ],
    },
    Target {
        name: "delivery_cursor",
        run: delivery::cursor,
        seeds: delivery::cursor_seeds,
        words: &["\"v\":1", "\"next\":", "\"open\":[[", "\"errors\":[", "18446744073709551615", "]]"],
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
