#!/usr/bin/env bash
# A real MinIO, the bucket of the tests of `halley backup`: built from its Go module into ${HALLEY_TEST_HOME:-~/.cache/halley-test}/minio.
# It is under the AGPL, and a server for tests only. The tests start and stop it.
#
#   scripts/minio.sh install   build it, where it is not there; about five minutes of CPU, once
set -euo pipefail
# The last commit of the community's repository.
version=v0.0.0-20260212201848-7aac2a2c5b7c
bin=${HALLEY_TEST_HOME:-$HOME/.cache/halley-test}/minio/bin
case ${1:-} in
install)
  [ -x "$bin/minio" ] && exit 0
  command -v go >/dev/null || { echo "minio.sh: go not found" >&2; exit 1; }
  mkdir -p "$bin"
  GOBIN=$bin CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "github.com/minio/minio@$version"
  ;;
*)
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
