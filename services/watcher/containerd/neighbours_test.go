package containerd

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// TestNeighbours: two runtimes with nothing but their folders to tell them apart, on one machine and
// even on one containerd, do not take each other's sandboxes for leftovers.
func TestNeighbours(t *testing.T) {
	libexec := needContainers(t)
	dir := newDir(t)
	s := supervise(t, filepath.Join(dir, "c"))
	neighbour := func(name string) *Runtime {
		r, err := New(t.Context(), Options{Address: s.Address(), StateDir: filepath.Join(dir, name), Libexec: libexec})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(context.Background()); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return r
	}
	one, two := neighbour("one"), neighbour("two")
	box := create(t, one, testSpec("mine", sandbox.Build, ""))
	if err := two.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, _, err := run(box, "echo", "alive"); err != nil || text != "alive\n" {
		t.Errorf("after the neighbour's Reap: %q, %v", text, err)
	}
}
