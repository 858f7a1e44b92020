#!/usr/bin/env bash
# A real Apache RocketMQ on loopback, from Maven Central: the reference for differential tests and benchmarks.
#
#   scripts/rocketmq.sh up      install if need be, start name server and broker, return when they serve; print their process ids
#   scripts/rocketmq.sh down    stop them and delete their data
#   scripts/rocketmq.sh kill    the same with kill -9, which does not take the broker's half minute
#   scripts/rocketmq.sh install only fetch the jars, and make archives of loaded classes of them: with these it starts faster
#   scripts/rocketmq.sh classpath   print the Java class path of server, client, mqadmin and example programs
#
# Environment (defaults in brackets):
#   NAME [oracle]      instance; several may run side by side on different ports
#   ONLY [all]         namesrv or broker: start only that one; brokers then expect a name server at NS
#   NS [19876]         name server port
#   BROKER [20911]     broker port; the broker also takes BROKER-2 and BROKER+1
#   BROKERS [1]        masters of one cluster, each 10 ports above the one before: broker-NAME, broker-NAME-2, broker-NAME-3
#   PROXY [0]          gRPC proxy port, PROXY+1 for Remoting; 0 means no proxy
#   FLUSH [async]      async or sync: acknowledge before or after the write to disk
#   HEAP [512m]        broker heap
#   VERSION [5.5.0]    RocketMQ version; also 4.9.7, without proxy
#   BROKER_CONF []     further lines of broker.conf
#   HALLEY_TEST_HOME [~/.cache/halley-test]   where jars and data lie
set -euo pipefail

name=${NAME:-oracle}
only=${ONLY:-all}
namesrv_port=${NS:-19876}
broker_port=${BROKER:-20911}
brokers=${BROKERS:-1}
proxy_port=${PROXY:-0}
flush=${FLUSH:-async}
heap=${HEAP:-512m}
version=${VERSION:-5.5.0}
home=${HALLEY_TEST_HOME:-$HOME/.cache/halley-test}
jars=$home/rocketmq-$version/lib
run=$home/run-rocketmq-$name

fail() {
  echo "rocketmq.sh: $*" >&2
  exit 1
}

install() {
  [ -e "$home/rocketmq-$version/ready" ] && return 0
  command -v mvn >/dev/null || fail "mvn not found: install Maven and a JDK 17"
  mkdir -p "$home/rocketmq-$version"
  local module modules='namesrv broker proxy tools example'
  case $version in 4.*) modules='namesrv broker tools' ;; esac
  {
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>halley</groupId><artifactId>oracle</artifactId><version>1</version>'
    echo '<packaging>pom</packaging><dependencies>'
    for module in $modules; do
      echo "<dependency><groupId>org.apache.rocketmq</groupId><artifactId>rocketmq-$module</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
  } >"$home/rocketmq-$version/pom.xml"
  mvn -q -B -f "$home/rocketmq-$version/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DoutputDirectory="$jars" >&2
  touch "$home/rocketmq-$version/ready"
}

# start_java PROGRAM "LINE THAT MEANS READY" JAVA-ARGUMENTS...
start_java() {
  local program=$1 ready=$2 archive="-XX:SharedArchiveFile=$home/rocketmq-$version/${1%%-*}.jsa"
  shift 2
  [ -z "${ARCHIVING:-}" ] || archive="-XX:ArchiveClassesAtExit=$home/rocketmq-$version/$program.jsa"
  ROCKETMQ_HOME=$run setsid java -Xlog:disable "$archive" -Duser.home="$run" -Drocketmq.log.dir="$run/logs" \
    --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED \
    --add-opens=java.base/sun.nio.ch=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED \
    --add-opens=java.base/java.util=ALL-UNNAMED "$@" >"$run/$program.out" 2>&1 </dev/null &
  local process=$!
  echo "$process" >"$run/$program.pid"
  until grep -qs "$ready" "$run/$program.out"; do
    kill -0 "$process" 2>/dev/null || { tail -n 20 "$run/$program.out" >&2; fail "$program ended at start"; }
    sleep 0.1
  done
  echo "$program pid=$process"
}

# archive : what name server and broker have loaded once they serve
archive() {
  [ ! -e "$home/rocketmq-$version/broker.jsa" ] || return 0
  local environment=(NAME="archive-$$" NS="${NS:-19976}" BROKER="${BROKER:-20971}" ARCHIVING=1)
  env "${environment[@]}" "$0" up >/dev/null
  env "${environment[@]}" "$0" down
}

# Program and configuration of the broker with this number are called broker, broker-2, broker-3.
program_of() { [ "$1" = 1 ] && echo broker || echo "broker-$1"; }

configure() {
  local number suffix store
  mkdir -p "$run/logs" "$run/conf"
  # 4.x does not start without.
  for suffix in namesrv broker; do
    echo '<configuration><root level="WARN"/></configuration>' >"$run/conf/logback_$suffix.xml"
  done
  printf 'listenPort=%s\nbindAddress=127.0.0.1\n' "$namesrv_port" >"$run/namesrv.conf"
  for number in $(seq "$brokers"); do
    suffix=$([ "$number" = 1 ] || echo "-$number")
    store=$run/store$suffix
    {
      echo "brokerClusterName=DefaultCluster"
      echo "brokerName=broker-$name$suffix"
      echo "brokerId=0"
      echo "brokerRole=ASYNC_MASTER"
      case $flush in
        async) echo "flushDiskType=ASYNC_FLUSH" ;;
        sync) echo "flushDiskType=SYNC_FLUSH" ;;
        *) fail "FLUSH must be async or sync, not $flush" ;;
      esac
      echo "brokerIP1=127.0.0.1"
      echo "bindAddress=127.0.0.1"
      echo "listenPort=$((broker_port + 10 * (number - 1)))"
      echo "namesrvAddr=127.0.0.1:$namesrv_port"
      echo "storePathRootDir=$store"
      echo "storePathCommitLog=$store/commitlog"
      # Off by default in a real broker; SQL92 subscriptions need it.
      echo "enablePropertyFilter=true"
      echo "${BROKER_CONF:-}"
    } >"$run/$(program_of "$number").conf"
  done
  cat >"$run/proxy.json" <<JSON
{"rocketMQClusterName": "DefaultCluster", "namesrvAddr": "127.0.0.1:$namesrv_port", "proxyMode": "CLUSTER",
 "grpcServerPort": $proxy_port, "remotingListenPort": $((proxy_port + 1))}
JSON
}

up() {
  command -v java >/dev/null || fail "java not found: install a JDK 17"
  install
  [ ! -e "$run" ] || fail "instance $name is up already or was not taken down: run '$0 down' first"
  configure
  case $only in
    all | namesrv | broker) ;;
    *) fail "ONLY must be namesrv or broker, not $only" ;;
  esac
  [ "$only" = broker ] ||
    start_java namesrv 'boot success' -Xmx256m -cp "$jars/*" org.apache.rocketmq.namesrv.NamesrvStartup -c "$run/namesrv.conf"
  [ "$only" != namesrv ] || return 0
  local number program
  for number in $(seq "$brokers"); do
    program=$(program_of "$number")
    start_java "$program" 'boot success' -Xms"$heap" -Xmx"$heap" -XX:MaxDirectMemorySize=4g -cp "$jars/*" \
      org.apache.rocketmq.broker.BrokerStartup -c "$run/$program.conf"
  done
  if [ "$proxy_port" != 0 ]; then
    mkdir -p "$run/conf"
    cp "$run/proxy.json" "$run/conf/rmq-proxy.json"
    start_java proxy 'startup successfully' -Xmx512m -cp "$jars/*" org.apache.rocketmq.proxy.ProxyStartup \
      -pc "$run/conf/rmq-proxy.json" -pm CLUSTER -n "127.0.0.1:$namesrv_port"
  fi
}

# down [kill]
down() {
  local program process
  for program in proxy $(cd "$run" 2>/dev/null && ls -d broker*.pid 2>/dev/null | sed 's/[.]pid$//') namesrv; do
    [ -e "$run/$program.pid" ] || continue
    process=$(cat "$run/$program.pid")
    [ "${1:-}" != kill ] || kill -9 "$process" 2>/dev/null || true
    kill "$process" 2>/dev/null || true
    for _ in $(seq 600); do
      kill -0 "$process" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$process" 2>/dev/null || true
  done
  rm -rf "$run"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  kill) down kill ;;
  install) install; archive ;;
  classpath) install; echo "$jars/*" ;;
  *) sed -n '2,23p' "$0"; exit 2 ;;
esac
