// Package leaktest checks at the end of a package's tests that nothing of ours still runs.
package leaktest

import "go.uber.org/goleak"

// Main runs the tests of a *testing.M, or what does that, and fails them when a goroutine is left. It
// overlooks what NATS is known to leave behind, and nothing else.
func Main(m goleak.TestingM) {
	goleak.VerifyTestMain(m,
		// A server that is shut down while it sets up a sourced stream leaves this one waiting for an
		// answer for a while.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*stream).trySetupSourceConsumer.func3"),
		// The server's measuring of its own process has no end.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/pse.periodic"),
		// A publisher starts this with its first publish; it waits for ever when the publisher is
		// cleaned up before it has read the channel that it waits on.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}
