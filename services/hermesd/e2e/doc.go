// Package e2e proves the whole of Hermes at once: the hermes and hermesd programs as users start
// them, real compilers, real containers, a real NATS server, and processes that are killed at bad
// moments. It holds tests only. They need root and the programs of deployments/setup.sh, and are
// skipped without them, unless HERMES_REQUIRE_CONTAINERD is set.
package e2e
