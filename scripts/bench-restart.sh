#!/usr/bin/env bash
# How long a start takes after kill -9 under load, with 50 GiB of log and 100,000 queues. Opening reads the ends of the log and no
# bodies in the middle: holes are punched into files that are complete, so that 8 GiB of disk are enough. About five minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
halley=${CARGO_TARGET_DIR:-target}/release/halley
gib=${GIB:-50}
work=$(mktemp -d -p "${WORK:-/tmp}")
cleanup() {
  kill $(jobs -p) 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
cat >"$work/halley.yaml" <<END
server: {data: $work/data, durability: os, retention: {age: forever, disk: {clean: 100%, forced: 100%, refuse: 100%}}}
END

start() {
  rm -f "$work/log"
  "$halley" serve --config "$work/halley.yaml" 2>"$work/log" &
  server=$!
  until grep -qs ready "$work/log"; do
    kill -0 "$server"
    sleep 0.002
  done
}
# Complete files, but for the newest: what is behind the log (sidecars, keys) has long read the others.
punch() {
  for file in $(ls "$work"/data/log/*.seg | sort | head -n -24); do
    punched=$work/$(basename "$file").punched
    [ -e "$punched" ] && continue
    size=$(stat -c %s "$file")
    fallocate --punch-hole --offset 4096 --length $((size - 8192)) "$file"
    touch "$punched"
  done
}
kept() { curl -sf http://127.0.0.1:9090/metrics | awk '/^halley_log_kept_bytes /{print int($2 / 1073741824)}'; }

start
"$halley" bench topics --topics 12500 --queues 8
while [ "$(kept)" -lt "$gib" ]; do
  "$halley" bench send --topic large --size 1000000 --connections 4 --in-flight 4 --seconds 4 --warmup 0 >/dev/null
  punch
  echo "$(kept) GiB"
done
for _ in 1 2 3 4 5; do
  "$halley" bench send --seconds 20 --warmup 0 >/dev/null 2>&1 &
  load=$!
  sleep 8
  kill -9 "$server"
  wait "$server" 2>/dev/null || true
  wait "$load" 2>/dev/null || true
  began=$(date +%s%N)
  start
  echo "start after kill -9: $((($(date +%s%N) - began) / 1000000)) ms; $(grep -o 'log_end=.*' "$work/log" | head -1)"
  grep VmRSS "/proc/$server/status"
done
