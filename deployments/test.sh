#!/usr/bin/env bash
# Passes every test: the fast ones, and those on real containers. Installs what they need. At the end it
# says how many ways out of a sandbox, and to what is other users', were tried, and how many of them led there.
set -euo pipefail
cd "$(dirname "$0")/.."
deployments/build.sh
. deployments/cgo.sh
export HERMES_LIBEXEC=$PWD/bin/libexec HERMES_REQUIRE_CONTAINERD=1
go vet ./...
# What the suites of attacks found, which go test would keep to itself.
export HERMES_ATTACK_REPORT=$PWD/bin/attack-report
rm -f "$HERMES_ATTACK_REPORT"
status=0
# Not from the cache: the end-to-end tests build and start programs that it knows nothing of.
go test -count=1 -timeout 30m ./... "$@" || status=$?
if [ -f "$HERMES_ATTACK_REPORT" ]; then cat "$HERMES_ATTACK_REPORT"; fi
exit "$status"
