#!/usr/bin/env bash
# The table of docs/reliability.md: the same faults under the same load, Halley beside a real RocketMQ 5.5.0 with SYNC_FLUSH, both
# looked at by the checker of tests/common/history.rs. Needs root, strace, xfsprogs, a JDK 17 and Maven; some minutes; only loopback.
# FAULT=medium runs the rows whose fault has this in its name.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/rocketmq.sh install
exec cargo test --locked --test faults_vs_rocketmq -- --ignored --nocapture
