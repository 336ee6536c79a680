#!/usr/bin/env bash
# Installs what is missing and builds hermes and hermesd into bin/. Needs Go, git and root.
set -euo pipefail
cd "$(dirname "$0")/.."
deployments/setup.sh
. deployments/cgo.sh
mkdir -p bin
echo "building bin/hermes and bin/hermesd (the first time takes a minute or two)" >&2
CGO_ENABLED=0 go build -trimpath -o bin/ ./cli/hermes
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/libexec/ ./services/watcher/network/hermes-network
go build -trimpath -o bin/ ./services/hermesd
