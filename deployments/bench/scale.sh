#!/usr/bin/env bash
# Measures an instance with a long history: lists, inspections, the projector, a rebuild, the start,
# the memory; and says which budgets of the project are met. Makes its own instance, without
# containers, in a folder that is removed at the end. Needs no root.
#   deployments/bench/scale.sh [--executions 1000000] [--users 1] [--dir /var/tmp]   # or --help
set -euo pipefail
cd "$(dirname "$0")/../.."
. deployments/cgo.sh
go build -trimpath -o bin/hermesd ./services/hermesd
go build -trimpath -o bin/hermes-scale ./deployments/bench/scale
exec bin/hermes-scale "$@"
