# `just` lists the recipes. Everything here is a plain cargo command too; nothing needs just.

# List the recipes
default:
    @just --list

# Build the server for use
build:
    cargo build --release --locked

# Run everything in one process with the quick start's rules
dev *ARGS:
    cargo run --release -- dev examples/quickstart/halley.yaml {{ARGS}}

# Run all tests; those that need tools that are not installed say so and are skipped
test *ARGS:
    cargo test --workspace --locked {{ARGS}}

# Format all code
fmt:
    cargo fmt --all
    cargo fmt --manifest-path fuzz/Cargo.toml

# What CI denies: formatting, clippy warnings, missing documentation
lint:
    cargo fmt --all --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo clippy --manifest-path fuzz/Cargo.toml --all-targets --locked -- -D warnings

# Exactly what CI runs
ci:
    .ci/run

# Simulate clusters of store, queues and delivery under faults: `just sim --help`
sim *ARGS:
    cargo run --profile sim --locked -p halley-sim -- {{ARGS}}

# Load a server and measure it: `just bench send --peer 127.0.0.1:9876`
bench *ARGS:
    cargo run --release --locked -- bench {{ARGS}}

# Replay the committed corpus of every decoder and mutate it for SECONDS (stable toolchain)
fuzz-replay SECONDS="120":
    cargo run --release --locked --manifest-path fuzz/Cargo.toml --bin replay -- --seconds {{SECONDS}}

# Fuzz one decoder with libFuzzer until it fails or is stopped; needs `cargo install cargo-fuzz`
fuzz TARGET *ARGS:
    mkdir -p fuzz/corpus/{{TARGET}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run --features libfuzzer {{TARGET}} fuzz/corpus/{{TARGET}} fuzz/seeds/{{TARGET}} {{ARGS}}

# The manual of the crates, in the browser
doc:
    cargo doc --workspace --no-deps --open
