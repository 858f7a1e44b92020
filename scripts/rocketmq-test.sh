#!/usr/bin/env bash
# Runs RocketMQ's own integration tests (org.apache.rocketmq:rocketmq-test:5.5.0) against clusters that are started here.
#
#   scripts/rocketmq-test.sh                run what tests/rocketmq-test.passing says; fails if a test does
#   scripts/rocketmq-test.sh possible       run what tests/rocketmq-test.possible says: a real RocketMQ passes these
#   scripts/rocketmq-test.sh all            run all classes that do not start all their brokers themselves
#   scripts/rocketmq-test.sh CLASS...       run these, as `all` would; the last part of the name is enough
#   scripts/rocketmq-test.sh install        only fetch and compile
#   scripts/rocketmq-test.sh list           print what `all` would run
#
# Prints a line for each class: its tests run, failed and skipped, the seconds it took, and the tests that failed; a class that
# failed beside others runs once more alone, which counts. What a class
# printed lies in ~/.cache/halley-test/rocketmq-test/SERVER/CLASS.log, the clusters' output beside it.
#
# Environment (defaults in brackets):
#   SERVER [halley]    halley or rocketmq: what is tested; rocketmq shows what a class can do at all
#   BROKERS [3]        how many brokers a cluster has
#   HALLEY [built with cargo]   the server's binary
#   TIMEOUT [600]      seconds for a class
#   LANES [2]          classes that run at the same time, each with a cluster of its own, since classes change brokers' settings
#   NS [27976], BROKER [27911]   ports of the first name server and of its first broker; each further broker is 10 above, each
#                      further cluster 100
#   HALLEY_TEST_HOME [~/.cache/halley-test]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
version=5.5.0
server=${SERVER:-halley}
test_home=${HALLEY_TEST_HOME:-$HOME/.cache/halley-test}
home=$test_home/rocketmq-test
jars=$home/lib-$version
classes=$home/classes-$server
logs=$home/$server
namesrv_port_first=${NS:-27976}
broker_port_first=${BROKER:-27911}
timeout_seconds=${TIMEOUT:-600}
lanes=${LANES:-2}
lists=$root/tests/rocketmq-test
sources=$root/tests/clients/java/rocketmq-test

fail() {
  echo "rocketmq-test.sh: $*" >&2
  exit 1
}

case $server in
  halley | rocketmq) brokers=${BROKERS:-3} ;;
  *) fail "SERVER must be halley or rocketmq, not $server" ;;
esac

install() {
  local tool
  for tool in java javac mvn; do command -v "$tool" >/dev/null || fail "$tool not found: install a JDK 17 and Maven"; done
  if [ ! -e "$jars/ready" ]; then
    mkdir -p "$jars"
    # The versions with which RocketMQ compiles these tests (pom.xml of rocketmq-all).
    local dependency
    {
      echo '<project><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version><dependencies>'
      for dependency in "org.apache.rocketmq:rocketmq-test:$version:" "org.apache.rocketmq:rocketmq-test:$version:tests" \
        com.google.guava:guava:32.0.1-jre: junit:junit:4.13.2: com.google.truth:truth:0.30: \
        org.awaitility:awaitility:4.1.0: org.assertj:assertj-core:3.22.0: io.grpc:grpc-testing:1.53.0:; do
        IFS=: read -r group artifact artifact_version classifier <<<"$dependency"
        echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId>"
        echo "<version>$artifact_version</version><classifier>$classifier</classifier></dependency>"
      done
      echo '</dependencies></project>'
    } >"$jars/pom.xml"
    mvn -q -B -f "$jars/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DoutputDirectory="$jars" >&2
    touch "$jars/ready"
  fi
  rm -rf "$classes"
  mkdir -p "$classes"
  find "$sources" -name '*.java' -print0 | xargs -0 javac -nowarn -cp "$jars/*" -d "$classes"
}

# Test classes by their full names. Left out are those that start all their brokers inside the test's process, and a base class.
all_classes() {
  unzip -Z1 "$jars/rocketmq-test-$version-tests.jar" | sed -n 's#/#.#g; s/[.]class$//p' |
    grep -E 'IT$' | grep -vE '[.](container|dledger|autoswitchrole)[.]|(LocalGrpc|GrpcBase)IT' | sort
}

# What is asked for on the command line: a line for each class, its full name and the tests of it that are left out.
chosen_classes() {
  local name found
  case ${1:-} in
    all) all_classes | without_impossible ;;
    possible) sed '/^#/d; s/ without / /' "$lists.possible" ;;
    '') sed '/^#/d; s/ without / /' "$lists.passing" ;;
    *)
      for name in "$@"; do
        found=$(all_classes | grep -E "(^|[.])$name\$") || fail "no class $name: see '$0 list'"
        without_impossible <<<"$found"
      done
      ;;
  esac
}

# Adds to class names the tests that no broker outside the test's process passes. One of them would be in the way of others: it
# starts brokers with the names of those that it is run against.
without_impossible() {
  local name left_out
  while read -r name; do
    left_out=$(sed -n "s/^$name without //p" "$lists.possible")
    echo "$name${left_out:+ $left_out}"
  done
}

namesrv_port() { echo $((namesrv_port_first + 100 * ($1 - 1))); } # LANE
broker_name() { echo "broker-lane$1$([ "$2" = 1 ] || echo "-$2")"; } # LANE NUMBER
broker_address() { echo "127.0.0.1:$((broker_port_first + 100 * ($1 - 1) + 10 * ($2 - 1)))"; } # LANE NUMBER

halley_processes=()
# serve NAME "MORE OF THE SECTION server": starts a process and waits until it serves
serve() {
  local name=$1 process
  rm -rf "$home/data-$name"
  printf 'server:\n  data: %s\n  admin: {listen: "127.0.0.1:0"}\n%s\n' "$home/data-$name" "$2" >"$home/$name.yaml"
  "$halley" serve --config "$home/$name.yaml" >"$logs/$name.log" 2>&1 &
  process=$!
  halley_processes+=("$process")
  until grep -qs ' INFO ready ' "$logs/$name.log"; do
    kill -0 "$process" 2>/dev/null || { cat "$logs/$name.log" >&2; fail "$name ended at start"; }
    sleep 0.1
  done
}

start_halley() {
  local lane namesrv number
  halley=${HALLEY:-}
  if [ -z "$halley" ]; then
    (cd "$root" && cargo build --locked --quiet)
    halley=${CARGO_TARGET_DIR:-$root/target}/debug/halley
  fi
  for lane in $(seq "$lanes"); do
    namesrv="127.0.0.1:$(namesrv_port "$lane")"
    serve "namesrv-lane$lane" "  namesrv: {listen: \"$namesrv\"}
  broker: false"
    for number in $(seq "$brokers"); do
      serve "$(broker_name "$lane" "$number")" "  broker:
    {listen: \"$(broker_address "$lane" "$number")\", name: $(broker_name "$lane" "$number"), namesrv: [\"$namesrv\"]}
  ingress: false
  retention: {disk: {clean: 100%, forced: 100%, refuse: 100%}}"
    done
  done
}

# The settings with which the tests' own brokers are started (IntegrationTestBase.createAndStartBroker, 5.5.0).
rocketmq() { # up or down
  local lane
  for lane in $(seq "$lanes"); do
    NAME=lane$lane NS=$(namesrv_port "$lane") \
      BROKER=$((broker_port_first + 100 * (lane - 1))) BROKERS=$brokers HALLEY_TEST_HOME=$test_home BROKER_CONF="
enableCalcFilterBitMap=true
appendAckAsync=true
appendCkAsync=true
recallMessageEnable=true
enableConsumeQueueExt=true
loadBalancePollNameServerInterval=500
popConsumerKVServiceInit=true
maxTransferCountOnMessageInMemory=1024
maxTransferCountOnMessageInDisk=1024
mappedFileSizeCommitLog=104857600" "$root/scripts/rocketmq.sh" "$1"
  done
}

# What the processes were asked, for scripts/compat.py.
observe() {
  local seen=${CARGO_TARGET_DIR:-$root/target}/tmp/compat log address
  mkdir -p "$seen"
  for log in "$logs"/{namesrv,broker}-lane*.log; do
    address=$(grep -o 'admin=[0-9.:]*' "$log" | tail -n 1)
    curl -sf "http://${address#admin=}/metrics" | grep '^halley_remoting_requests_total{' |
      sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/{"requests": "&"}/' >>"$seen/rocketmq-test.jsonl" || true
  done
}

stop() {
  if [ "$server" = rocketmq ]; then
    rocketmq down
  elif [ ${#halley_processes[@]} -gt 0 ]; then
    observe
    kill "${halley_processes[@]}" 2>/dev/null || true
  fi
}

# run_class LANE CLASS [TEST,TEST]: runs a class, but for these tests of it; its line goes to standard output.
run_class() {
  local lane=$1 class=$2 left_out=${3:-} log began=$SECONDS result failed addresses= number
  log=$logs/${class##*.}.log
  local scratch=$home/tmp-$server/$class
  for number in $(seq "$brokers"); do addresses+="$(broker_name "$lane" "$number")=$(broker_address "$lane" "$number"),"; done
  mkdir -p "$scratch"
  timeout -k 5 "$timeout_seconds" java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m -Djava.io.tmpdir="$scratch" -Duser.home="$scratch" \
    -Dtest.namesrv="127.0.0.1:$(namesrv_port "$lane")" -Dtest.brokers="${addresses%,}" \
    --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED \
    --add-opens=java.base/sun.nio.ch=ALL-UNNAMED -cp "$classes:$jars/*" RunClass "$class" ${left_out:+"$left_out"} >"$log" 2>&1 </dev/null || true
  rm -rf "$scratch"
  failed=$(sed -n 's/^FAILED \([^:]*\):.*/\1/p' "$log" | paste -sd, -)
  result=$(sed -n 's/^RESULT //p' "$log")
  # Not to come to an end is a failure of the test that ran then, or of the class where none did.
  if [ -z "$result" ]; then
    result="$(grep -c '^BEGIN ' "$log" || true) 1 0"
    failed="no end of $(sed -n 's/^BEGIN //p' "$log" | tail -n 1)${failed:+,$failed}"
  fi
  read -r run failures skipped <<<"$result"
  printf '%-75s %4s %6s %7s %4s  %s\n' "${class#org.apache.rocketmq.test.}" "$run" "$failures" "$skipped" $((SECONDS - began)) "$failed"
}

case ${1:-} in
  install) install; exit ;;
  list) install; all_classes; exit ;;
  -*) sed -n '2,26p' "$0"; exit 2 ;;
esac
install
chosen=$(chosen_classes "$@")
mkdir -p "$logs"
rm -f "$logs"/{namesrv,broker}-lane*.log
trap stop EXIT
if [ "$server" = rocketmq ]; then rocketmq up >&2; else start_halley; fi
table=$logs/table
printf '%-75s %4s %6s %7s %4s  %s\n' class run failed skipped s failures | tee "$table"
# The process that runs a class in each lane, by the lane's number less one.
runs=()
running() { [ -n "${runs[$1]:-}" ] && kill -0 "${runs[$1]}" 2>/dev/null; }
lane=0
while read -r class left_out; do
  while running "$lane"; do
    lane=$(((lane + 1) % lanes))
    [ "$lane" != 0 ] || sleep 0.2
  done
  run_class $((lane + 1)) "$class" "$left_out" </dev/null | tee -a "$table" &
  runs[lane]=$!
done <<<"$chosen"
wait "${runs[@]}"
# Where several classes run at a time, a client that waits for seconds may wait in vain: what failed may try again alone.
for class in $(awk 'NR > 1 && $3 > 0 { print "org.apache.rocketmq.test." $1 }' "$table"); do
  echo "again: $class"
  sed -i "/^${class#org.apache.rocketmq.test.} /d" "$table"
  left_out=$(awk -v class="$class" '$1 == class { print $2 }' <<<"$chosen")
  run_class 1 "$class" "$left_out" | tee -a "$table"
done
awk 'NR > 1 { run += $2; failed += $3; skipped += $4; if ($3 > 0) bad++ }
     END { printf "%d classes, %d of them with failures; %d tests, %d failed, %d skipped\n", NR - 1, bad, run, failed, skipped
           exit bad > 0 }' "$table"
