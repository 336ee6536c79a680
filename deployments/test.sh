#!/usr/bin/env bash
# Passes every test: the fast ones, and those on real containers. Installs what they need.
set -euo pipefail
cd "$(dirname "$0")/.."
deployments/build.sh
export HERMES_LIBEXEC=$PWD/bin/libexec HERMES_REQUIRE_CONTAINERD=1
go vet ./...
# Not from the cache: the end-to-end tests build and start programs that it knows nothing of.
exec go test -count=1 -timeout 30m ./... "$@"
