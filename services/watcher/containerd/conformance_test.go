package containerd

import (
	"context"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/runtimetest"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func TestConformance(t *testing.T) {
	needContainers(t)
	runtimetest.Run(t, func(t *testing.T) sandbox.Runtime { return newRuntime(t) },
		runtimetest.Options{Isolated: true, Crash: crash})
}

// crash kills a watcher, but not its containerd.
func crash(t *testing.T) (sandbox.Runtime, func() []string) {
	address, err := shared.address()
	if err != nil {
		t.Fatal(err)
	}
	state := newDir(t)
	runtimetest.RunAndKill(t, addressEnv+"="+address, stateEnv+"="+state)
	r := newRuntimeIn(t, state)
	return r, func() []string { return present(t, r) }
}

// present lists everything of a runtime's that is on the machine.
func present(t *testing.T, r *Runtime) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ids, err := r.leftovers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}
