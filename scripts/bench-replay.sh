#!/usr/bin/env bash
# What a replay of old messages costs those who send and receive new ones: Halley, then RocketMQ 5.5.0, on the same machine. GIB is the
# length of what is replayed, PAIRS how often a phase without and one with a replay are compared. The system's cache is emptied before
# each is measured where that is allowed. Needs a JDK 17 and Maven; only loopback.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
halley=${CARGO_TARGET_DIR:-target}/release/halley
work=$(mktemp -d)
ns=${NS:-19876} broker=${BROKER:-20911} gib=${GIB:-4} pairs=${PAIRS:-5}
halley_pid=
cleanup() {
  [ -z "$halley_pid" ] || kill "$halley_pid" 2>/dev/null || true
  NAME=replay NS=$ns BROKER=$broker scripts/rocketmq.sh down >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
mixed() {
  "$halley" bench mixed --backlog "$gib" --pairs 1 --seconds 1 "$@" 2>"$work/filled" >/dev/null
  sync
  { echo 3 >/proc/sys/vm/drop_caches; } 2>/dev/null || echo "the system's cache stays as it is"
  topic=$(sed -n 's/.*--replay-topic \([^ ]*\) .*/\1/p' "$work/filled")
  "$halley" bench mixed --backlog "$gib" --pairs "$pairs" --replay-topic "$topic" "$@"
}

echo "server: {data: $work/data, durability: os, retention: {disk: {clean: 100%, forced: 100%, refuse: 100%}}}" >"$work/halley.yaml"
"$halley" serve --config "$work/halley.yaml" 2>"$work/log" &
halley_pid=$!
until grep -q ready "$work/log"; do sleep 0.1; done
echo "== Halley"; mixed --server-pid "$halley_pid"
kill "$halley_pid"; wait "$halley_pid" || true; halley_pid=
rm -rf "$work/data"

# On a disk that is half full RocketMQ would remove what is to be replayed, and refuse what fills it.
export BROKER_CONF=$'diskMaxUsedSpaceRatio=95\ncleanFileForciblyEnable=false\nwaitTimeMillsInSendQueue=5000'
NAME=replay NS=$ns BROKER=$broker scripts/rocketmq.sh up
echo "== RocketMQ"; mixed --peer "127.0.0.1:$ns" --server-pid "$(pgrep -f 'BrokerStartup.*replay' | head -1)"
