#!/usr/bin/env bash
# Builds the official clients that the end-to-end tests run, into ${HALLEY_TEST_HOME:-~/.cache/halley-test}/clients:
# RocketMQ Java 5.5.0 and 4.9.8, RocketMQ Go, mqadmin of 5.5.0, and the CloudEvents SDKs for Java, Python and JavaScript.
# Does nothing where everything is there and no source changed. Needs JDK 17, Maven, Go, Python 3 and npm.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
home=${HALLEY_TEST_HOME:-$HOME/.cache/halley-test}/clients
sources=$(find "$root/tests/clients" "$root/examples/consumers" "$root/scripts/install-test-clients.sh" -type f | sort)
stamp=$(cat $sources | sha256sum | cut -d' ' -f1)
if [ "$(cat "$home/stamp" 2>/dev/null)" = "$stamp" ]; then echo "test clients are up to date in $home"; exit 0; fi
for tool in javac mvn go python3 npm; do
  command -v "$tool" >/dev/null || { echo "install-test-clients: $tool is missing" >&2; exit 1; }
done
mkdir -p "$home"

# jars DIR GROUP:ARTIFACT:VERSION... : the artifacts with all they need
jars() {
  local dir=$1 artifact; shift
  [ -f "$dir/.complete" ] && [ "$(cat "$dir/.complete")" = "$*" ] && return 0
  rm -rf "$dir"; mkdir -p "$dir"
  { echo '<project><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version><dependencies>'
    for artifact in "$@"; do IFS=: read -r g a v <<<"$artifact"; echo "<dependency><groupId>$g</groupId><artifactId>$a</artifactId><version>$v</version></dependency>"; done
    echo '</dependencies></project>'; } >"$dir/pom.xml"
  mvn -q -B -f "$dir/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DoutputDirectory="$dir"
  echo "$*" >"$dir/.complete"
}

# program NAME JARS SOURCE... : NAME.jar
program() {
  local name=$1 jars=$2 classes
  shift 2
  classes=$(mktemp -d)
  javac -nowarn -cp "$jars/*" -d "$classes" "$@"
  jar cf "$home/$name.jar" -C "$classes" .
  rm -rf "$classes"
}

# archive NAME JARS JAVA-ARGUMENTS... : NAME.jsa, with the classes that such a run loads. JVMs that are given it start at half the CPU time.
archive() {
  local name=$1 jars=$2
  shift 2
  rm -f "$home/$name.jsa"
  java -Xlog:disable -XX:ArchiveClassesAtExit="$home/$name.jsa" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
    -cp "$home/$name.jar:$jars/*" "$@" >/dev/null 2>&1 </dev/null || [ -f "$home/$name.jsa" ]
}

# Nobody is at these addresses: what is loaded until that is known is most of it.
nowhere=127.0.0.1:1
for version in 5.5.0 4.9.8; do
  jars "$home/rocketmq-$version" "org.apache.rocketmq:rocketmq-client:$version"
  programs=("$root"/tests/clients/java/rocketmq/*.java)
  [ "$version" = 4.9.8 ] || programs+=("$root"/tests/clients/java/rocketmq-5/*.java)
  program "java-$version" "$home/rocketmq-$version" "${programs[@]}"
  archive "java-$version" "$home/rocketmq-$version" Client produce "$nowhere" T 1
done

"$root/scripts/rocketmq.sh" install
tools=$(dirname "$("$root/scripts/rocketmq.sh" classpath)")
program mqadmin "$tools" "$root"/tests/clients/java/mqadmin/*.java
archive mqadmin "$tools" org.apache.rocketmq.tools.command.MQAdminStartup clusterList -n "$nowhere"

rm -rf "$home/java-example"; mkdir -p "$home/java-example"
javac -nowarn -cp "$home/rocketmq-5.5.0/*" -d "$home/java-example" "$root"/examples/consumers/java/*.java

jars "$home/cloudevents-4.0.1" io.cloudevents:cloudevents-http-basic:4.0.1 io.cloudevents:cloudevents-json-jackson:4.0.1
rm -rf "$home/java-cloudevents"; mkdir -p "$home/java-cloudevents"
javac -nowarn -cp "$home/cloudevents-4.0.1/*" -d "$home/java-cloudevents" "$root"/tests/clients/java/cloudevents/*.java

(cd "$root/tests/clients/go" && go build -o "$home/go-client" .)
(cd "$root/examples/consumers/go" && go build -o "$home/go-example" .)

[ -x "$home/python/bin/python" ] || python3 -m venv "$home/python"
"$home/python/bin/pip" install -q 'cloudevents==2.2.0' 'requests>=2.32'

mkdir -p "$home/node"; cp "$root"/tests/clients/node/* "$home/node/"
(cd "$home/node" && npm install --silent --no-audit --no-fund)

echo "$stamp" >"$home/stamp"
echo "test clients built in $home"
