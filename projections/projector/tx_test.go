package projector

import (
	"context"
	"slices"
	"testing"

	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/projections"
)

// noting is a store that notes which keys a commit touches.
type noting struct {
	store
	touched []string
}

func (n *noting) commit(ctx context.Context, writes map[string][]byte, checkpoint, revision uint64) (uint64, error) {
	n.touched = nil
	for key := range writes {
		n.touched = append(n.touched, key)
	}
	slices.Sort(n.touched)
	return n.store.commit(ctx, writes, checkpoint, revision)
}

// TestWhatWasNeverStoredIsNotDeleted: each key of a commit is a message that is synced to the disk.
func TestWhatWasNeverStoredIsNotDeleted(t *testing.T) {
	s := &noting{store: newMemStore()}
	p := newMem(memlog.New(), s.store.(*memStore))
	p.store = s
	x, err := p.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	commit := func(checkpoint uint64, want ...string) {
		t.Helper()
		if err := x.commit(checkpoint); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.touched, want) {
			t.Errorf("commit %d touches %v, want %v", checkpoint, s.touched, want)
		}
	}
	x.Create("short", projections.Text("1"))
	x.Create("long", projections.Text("1"))
	x.Delete("short")
	x.Delete("unknown") // it may be there
	commit(1, "long", "unknown")
	x.Delete("long")
	commit(2, "long")
	x.Create("long", projections.Text("2"))
	x.Delete("long")
	x.Delete("unknown")
	commit(3)
	x.Create("again", projections.Text("1"))
	commit(4, "again")
	x.Delete("again")
	x.Create("again", projections.Text("2"))
	x.Delete("again") // it is there all the same
	commit(5, "again")
	if value, err := x.Get("long"); err != nil || value != nil {
		t.Errorf("it is %v, %v", value, err)
	}
}
