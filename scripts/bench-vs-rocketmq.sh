#!/usr/bin/env bash
# The figures of docs/performance.md: the same loads against a real RocketMQ 5.5.0 and against Halley, in turn. Needs a JDK 17 and
# Maven; about ten minutes; only loopback.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
halley=${CARGO_TARGET_DIR:-target}/release/halley
work=$(mktemp -d)
ns=${NS:-19876} broker=${BROKER:-20911}
cleanup() {
  kill $(jobs -p) 2>/dev/null || true
  NAME=bench NS=$ns BROKER=$broker scripts/rocketmq.sh down >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

NAME=bench NS=$ns BROKER=$broker BROKER_CONF=timerWheelEnable=true scripts/rocketmq.sh up
rocketmq_pid=$(pgrep -f 'BrokerStartup.*bench' | head -1)
echo "server: {data: $work/data, durability: os}" >"$work/halley.yaml"
started=$(date +%s%N)
"$halley" serve --config "$work/halley.yaml" 2>"$work/log" &
halley_pid=$!
until grep -q ready "$work/log"; do sleep 0.001; done
echo "start to ready: $((($(date +%s%N) - started) / 1000000)) ms"
sleep 1
grep VmRSS "/proc/$halley_pid/status"
for _ in 1 2; do
  echo "== RocketMQ"; "$halley" bench send --peer "127.0.0.1:$ns" --warmup 8 --server-pid "$rocketmq_pid"
  echo "== Halley"; "$halley" bench send --server-pid "$halley_pid"
done
for rate in 5000 10000; do
  echo "== RocketMQ at a fixed rate"; "$halley" bench send --rate "$rate" --peer "127.0.0.1:$ns" --server-pid "$rocketmq_pid"
  echo "== Halley at a fixed rate"; "$halley" bench send --rate "$rate" --server-pid "$halley_pid"
done
echo "== RocketMQ"; "$halley" bench pull --peer "127.0.0.1:$ns" --messages 400000 --connections 8 --server-pid "$rocketmq_pid"
echo "== Halley"; "$halley" bench pull --messages 400000 --connections 8 --server-pid "$halley_pid"
echo "== RocketMQ"; "$halley" bench pop --peer "127.0.0.1:$ns" --messages 200000 --connections 8 --server-pid "$rocketmq_pid"
echo "== Halley"; "$halley" bench pop --messages 200000 --connections 8 --server-pid "$halley_pid"
echo "== RocketMQ"; "$halley" bench timers --peer "127.0.0.1:$ns" --messages 100000 --ahead 40 --server-pid "$rocketmq_pid"
echo "== Halley"; "$halley" bench timers --messages 100000 --ahead 20 --server-pid "$halley_pid"
echo "== Halley"; "$halley" bench timers --messages 1000000 --ahead 40 --server-pid "$halley_pid"
"$halley" bench baseline &
baseline_pid=$!
sleep 0.5
for _ in 1 2; do
  echo "== axum"; "$halley" bench ingress --address 127.0.0.1:8089 --connections 32 --server-pid "$baseline_pid"
  echo "== Halley"; "$halley" bench ingress --connections 32 --server-pid "$halley_pid"
done

# Acknowledged only when synced: both start anew.
kill "$halley_pid" "$baseline_pid"
wait "$halley_pid" || true
NAME=bench NS=$ns BROKER=$broker scripts/rocketmq.sh down
NAME=bench NS=$ns BROKER=$broker FLUSH=sync scripts/rocketmq.sh up
rocketmq_pid=$(pgrep -f 'BrokerStartup.*bench' | head -1)
echo "server: {data: $work/synced, durability: sync}" >"$work/halley.yaml"
"$halley" serve --config "$work/halley.yaml" 2>"$work/log" &
halley_pid=$!
until grep -q ready "$work/log"; do sleep 0.001; done
for _ in 1 2; do
  echo "== RocketMQ, synced"; "$halley" bench send --connections 1 --peer "127.0.0.1:$ns" --warmup 4 --server-pid "$rocketmq_pid"
  echo "== Halley, synced"; "$halley" bench send --connections 1 --server-pid "$halley_pid"
done

# Topics: RocketMQ gets a fiftieth of them, since each of its queues is a file of 6 MB.
kill "$halley_pid"
wait "$halley_pid" || true
echo "server: {data: $work/topics, durability: os}" >"$work/halley.yaml"
serve_topics() {
  "$halley" serve --config "$work/halley.yaml" 2>"$work/log" &
  halley_pid=$!
  until grep -q ready "$work/log"; do sleep 0.001; done
}
serve_topics
echo "== RocketMQ"; "$halley" bench topics --topics 2000 --peer "127.0.0.1:$ns" --server-pid "$rocketmq_pid"
echo "files: $(ls "/proc/$rocketmq_pid/map_files" | wc -l) mapped"
echo "== Halley"; "$halley" bench topics --topics 100000 --server-pid "$halley_pid"
sleep 3
grep VmRSS "/proc/$halley_pid/status"
echo "files: $(find "$work/topics" -type f | wc -l)"
kill -9 "$halley_pid"
wait "$halley_pid" || true
started=$(date +%s%N)
serve_topics
echo "restart after kill -9: $((($(date +%s%N) - started) / 1000000)) ms"
grep VmRSS "/proc/$halley_pid/status"

# SQL92 alone, in one process each.
jars=${HALLEY_TEST_HOME:-$HOME/.cache/halley-test}/rocketmq-5.5.0/lib
for _ in 1 2 3; do
  echo "== RocketMQ"; java -cp "$jars/*" bench/Sql92.java bench/sql92.txt
  echo "== Halley"; "$halley" bench filter
done
