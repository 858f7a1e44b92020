//! The dependency rules of `docs/ARCHITECTURE.md`, checked against what Cargo itself resolves.
//!
//! A new edge between two crates is a decision. If a test here fails, either the edge is a mistake or the table (and the
//! map in the documentation) changes in the same commit.

#![allow(clippy::disallowed_methods, reason = "asks cargo for the dependency graph and reads manifests")]

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Which crates of this workspace each crate may use directly, outside its own tests. The root package may use all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("halley-model", &[]),
    ("halley-filter", &["halley-model"]),
    ("halley-wire", &["halley-model"]),
    ("halley-store", &["halley-model"]),
    ("halley-objects-s3", &["halley-store"]),
    ("halley-machine", &["halley-filter", "halley-model"]),
    ("halley-takeover", &["halley-machine", "halley-model", "halley-wire"]),
    ("halley-backend", &["halley-model"]),
    ("halley-client", &["halley-wire"]),
    (
        "halley-broker",
        &[
            "halley-backend",
            "halley-client",
            "halley-filter",
            "halley-machine",
            "halley-model",
            "halley-store",
            "halley-takeover",
            "halley-wire",
        ],
    ),
    ("halley-event", &["halley-model"]),
    ("halley-rules", &["halley-event", "halley-filter", "halley-model"]),
    ("halley-delivery", &["halley-model"]),
    ("halley-ingress", &["halley-backend", "halley-event", "halley-model", "halley-rules"]),
    (
        "halley-bridge",
        &[
            "halley-backend",
            "halley-connector-api",
            "halley-delivery",
            "halley-event",
            "halley-model",
            "halley-rules",
        ],
    ),
    ("halley-connector-api", &["halley-event", "halley-model"]),
    ("halley-connector-http", &["halley-connector-api", "halley-event", "halley-model"]),
    ("halley-sim", &["halley-delivery", "halley-machine", "halley-model", "halley-store"]),
    ("halley-bench", &["halley-filter", "halley-model", "halley-wire"]),
];

/// Crates that decide and translate, and never act: no runtime, no sockets, no randomness, however deep.
const PURE: &[&str] = &[
    "halley-backend",
    "halley-connector-api",
    "halley-delivery",
    "halley-event",
    "halley-filter",
    "halley-machine",
    "halley-model",
    "halley-rules",
    "halley-store",
    "halley-takeover",
    "halley-wire",
];

/// What no pure crate may reach.
fn is_shell_only(package: &str) -> bool {
    const NAMES: &[&str] = &[
        "async-std",
        "axum",
        "getrandom",
        "h2",
        "hyper",
        "hyper-util",
        "mio",
        "rand",
        "reqwest",
        "rustls",
        "smol",
        "socket2",
        "tokio",
        "tokio-util",
        "tonic",
        "wasmtime",
    ];
    NAMES.contains(&package) || package.starts_with("aws-")
}

#[test]
fn crates_use_only_the_crates_they_may() {
    let graph = Graph::get();
    let mut violations = Vec::new();
    for member in graph.members().filter(|member| *member != "halley") {
        let allowed = MAY_USE
            .iter()
            .find(|(name, _)| *name == member)
            .unwrap_or_else(|| panic!("{member} is new: say in MAY_USE which crates it may use"))
            .1;
        for used in graph.direct(member).filter(|used| graph.is_member(used)) {
            if !allowed.contains(&used) {
                violations.push(format!("{member} uses {used}"));
            }
        }
    }
    assert!(violations.is_empty(), "edges that MAY_USE does not allow: {violations:#?}");
}

#[test]
fn nothing_uses_the_root_package() {
    let graph = Graph::get();
    for member in graph.members() {
        assert!(graph.direct(member).all(|used| used != "halley"), "{member} uses the composition root");
    }
}

#[test]
fn pure_crates_reach_no_runtime() {
    let graph = Graph::get();
    for name in PURE {
        let reached = graph.reachable(name);
        let bad: Vec<_> = reached.iter().filter(|package| is_shell_only(package)).collect();
        assert!(bad.is_empty(), "pure crate {name} reaches {bad:?}");
    }
}

/// Guards the test above against a graph that was read wrongly and therefore has no edges.
#[test]
fn the_shells_do_reach_a_runtime() {
    let graph = Graph::get();
    for name in ["halley-broker", "halley-ingress", "halley-bridge", "halley"] {
        assert!(graph.reachable(name).contains("tokio"), "{name} should reach tokio");
    }
}

#[test]
fn every_crate_inherits_the_workspace_lints() {
    for (name, manifest) in Graph::get().manifests() {
        let text = fs::read_to_string(&manifest).expect("cargo names manifests that exist");
        let lints = section(&text, "[lints]");
        assert!(
            lints.iter().any(|line| line.replace(' ', "") == "workspace=true"),
            "{name}: {} lacks `[lints] workspace = true`, so `unsafe` and the banned calls are not checked in it",
            manifest.display()
        );
    }
}

#[test]
fn every_dependency_has_an_accepted_licence() {
    let policy = fs::read_to_string(root().join("deny.toml")).expect("deny.toml lies beside Cargo.toml");
    let accepted = accepted_licences(&policy);
    assert!(accepted.contains("Apache-2.0"), "the licence list of deny.toml was not understood");
    let graph = Graph::get();
    let refused: Vec<_> = graph
        .licences()
        .filter(|(_, licence)| !licence.as_deref().is_some_and(|text| satisfies(text, &accepted)))
        .collect();
    assert!(refused.is_empty(), "licences that deny.toml does not allow: {refused:#?}");
}

#[test]
fn nothing_banned_and_nothing_from_elsewhere_is_linked() {
    let policy = fs::read_to_string(root().join("deny.toml")).expect("deny.toml lies beside Cargo.toml");
    let banned: BTreeSet<_> = section(&policy, "[bans]")
        .into_iter()
        .filter_map(|line| line.strip_prefix("{ crate = \"")?.split('"').next())
        .collect();
    assert!(banned.contains("memmap2"), "the list of banned crates in deny.toml was not understood");
    let graph = Graph::get();
    for (name, source) in graph.sources() {
        assert!(!banned.contains(name), "{name} is banned, deny.toml says why");
        let expected = match source {
            None => graph.is_member(name),
            Some(source) => source == "registry+https://github.com/rust-lang/crates.io-index",
        };
        assert!(expected, "{name} comes from {source:?}, neither this workspace nor crates.io");
    }
}

#[test]
fn licence_expressions_are_understood() {
    let accepted = BTreeSet::from(["Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC", "MIT"]);
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only AND MIT", false),
        ("(MIT OR GPL-3.0-only) AND ISC", true),
        ("(MIT OR ISC) AND GPL-3.0-only", false),
        ("MIT OR ISC AND GPL-3.0-only", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0-only", true),
        ("GPL-2.0-only WITH Classpath-exception-2.0", false),
        ("", false),
    ] {
        assert_eq!(satisfies(expression, &accepted), expected, "{expression:?}");
    }
}

/// What `cargo metadata` says of this workspace, for the platform this test runs on.
struct Graph {
    /// Package id → name.
    names: BTreeMap<String, String>,
    /// Package id → ids it uses when it is built normally (not for tests, not in build scripts).
    uses: BTreeMap<String, BTreeSet<String>>,
    members: BTreeSet<String>,
    manifests: BTreeMap<String, PathBuf>,
    licences: BTreeMap<String, Option<String>>,
    /// Package id → where it comes from, `None` for a path.
    sources: BTreeMap<String, Option<String>>,
}

impl Graph {
    /// The graph, read once: the tests run side by side and Cargo takes a lock.
    fn get() -> &'static Graph {
        static GRAPH: OnceLock<Graph> = OnceLock::new();
        GRAPH.get_or_init(|| Graph::read(&metadata()))
    }

    fn read(metadata: &Value) -> Graph {
        let mut graph = Graph {
            names: BTreeMap::new(),
            uses: BTreeMap::new(),
            members: strings(&metadata["workspace_members"]).collect(),
            manifests: BTreeMap::new(),
            licences: BTreeMap::new(),
            sources: BTreeMap::new(),
        };
        for package in list(&metadata["packages"]) {
            let id = text(&package["id"]);
            graph.manifests.insert(id.clone(), PathBuf::from(text(&package["manifest_path"])));
            graph.licences.insert(id.clone(), package["license"].as_str().map(str::to_owned));
            graph.sources.insert(id.clone(), package["source"].as_str().map(str::to_owned));
            graph.names.insert(id, text(&package["name"]));
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let used = list(&node["deps"])
                .iter()
                .filter(|dependency| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()))
                .map(|dependency| text(&dependency["pkg"]))
                .collect();
            graph.uses.insert(text(&node["id"]), used);
        }
        graph
    }

    fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|id| self.names[id].as_str())
    }

    fn is_member(&self, name: &str) -> bool {
        self.members().any(|member| member == name)
    }

    fn manifests(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.members.iter().map(|id| (self.names[id].as_str(), self.manifests[id].clone()))
    }

    fn licences(&self) -> impl Iterator<Item = (&str, &Option<String>)> {
        self.licences.iter().map(|(id, licence)| (self.names[id].as_str(), licence))
    }

    fn sources(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.sources.iter().map(|(id, source)| (self.names[id].as_str(), source.as_deref()))
    }

    fn direct(&self, member: &str) -> impl Iterator<Item = &str> {
        self.uses[self.id_of(member)].iter().map(|id| self.names[id].as_str())
    }

    fn reachable(&self, member: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![self.id_of(member)];
        while let Some(id) = open.pop() {
            for used in &self.uses[id] {
                if seen.insert(used.as_str()) {
                    open.push(used);
                }
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }

    fn id_of(&self, member: &str) -> &str {
        self.members
            .iter()
            .find(|id| self.names[*id] == member)
            .unwrap_or_else(|| panic!("{member} is not in the workspace"))
    }
}

/// Asks Cargo. Everything needed was downloaded to build this test, so the first try is offline; it fails only where
/// a package is resolved but not built.
fn metadata() -> Value {
    let run = |extra: &[&str]| {
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &host()])
            .args(extra)
            .current_dir(root())
            .output()
            .expect("cargo started this test, so it can be started again")
    };
    let mut output = run(&["--offline"]);
    if !output.status.success() {
        output = run(&[]);
    }
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// The platform's name, as `rustc -vV` gives it.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc built this test");
    let text = String::from_utf8(output.stdout).expect("rustc prints UTF-8");
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc -vV names its host").to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines of one section of a manifest, without its heading.
fn section<'a>(manifest: &'a str, heading: &str) -> Vec<&'a str> {
    manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .collect()
}

/// The strings in `allow = [ … ]` of the section `[licenses]`.
fn accepted_licences(policy: &str) -> BTreeSet<&str> {
    section(policy, "[licenses]")
        .into_iter()
        .skip_while(|line| !line.starts_with("allow"))
        .skip(1)
        .take_while(|line| *line != "]")
        .map(|line| line.trim_end_matches(',').trim_matches('"'))
        .collect()
}

/// Whether an SPDX expression can be met with accepted licences alone. `/` is the old way to write `OR`.
fn satisfies(expression: &str, accepted: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at, accepted);
    met && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, accepted: &BTreeSet<&str>) -> bool {
    let mut met = all_of(words, at, accepted);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, accepted);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, accepted: &BTreeSet<&str>) -> bool {
    let mut met = one(words, at, accepted);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, accepted);
    }
    met
}

fn one(words: &[&str], at: &mut usize, accepted: &BTreeSet<&str>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any_of(words, at, accepted);
        *at += 1; // the closing bracket
        return met;
    }
    if words.get(*at) == Some(&"WITH") && *at + 1 < words.len() {
        let with_exception = format!("{word} WITH {}", words[*at + 1]);
        *at += 2;
        return accepted.contains(with_exception.as_str());
    }
    accepted.contains(word)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Value) -> impl Iterator<Item = String> + '_ {
    list(value).iter().map(text)
}

fn text(value: &Value) -> String {
    value.as_str().expect("cargo metadata has a string here").to_owned()
}
