package projector

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// TestRevivedKeysAreDeleted: the active keys of ended executions, which a server that crashed has
// found again, are gone when the next projector is at work, and those of live ones are not.
func TestRevivedKeysAreDeleted(t *testing.T) {
	l, s := memlog.New(), newMemStore()
	w := NewWriter(l, 1)
	last := w.Write(t, 3000)
	p := newMem(l, s)
	stop := Start(t, p)
	WaitUntil(t, p, last)
	stop()
	WantVerified(t, p)

	before := len(s.snap.values)
	for key, raw := range s.snap.values {
		if !strings.HasPrefix(key, "view.") {
			continue
		}
		value, err := executions.Projection.Decode(key, raw)
		if err != nil {
			t.Fatal(err)
		}
		e := value.(executions.Execution)
		s.snap.values[executions.ActiveKey(e.ID)] = []byte(executions.Ref(e.Owner, e.Number))
	}
	if revived := len(s.snap.values) - before; revived < 500 {
		t.Fatalf("only %d keys to delete", revived)
	}
	p = newMem(l, s)
	Start(t, p)
	WaitUntil(t, p, last)
	WantVerified(t, p)
	WaitUntil(t, p, w.Write(t, 100))
	WantVerified(t, p)
}
