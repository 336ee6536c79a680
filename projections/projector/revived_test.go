package projector

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/events/streams"
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
		s.snap.values[executions.ActiveKey(e.Owner, e.ID)] = []byte(executions.Ref(e.Owner, e.Number))
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

// TestRevivedKeysAreDeletedFromTheBucket is the same with the bucket itself.
func TestRevivedKeysAreDeletedFromTheBucket(t *testing.T) {
	js := Connect(t)
	p := NewExecutions(js)
	w := NewWriter(p.o.Log, 3)
	stop := Start(t, p)
	WaitUntil(t, p, w.Write(t, 200))
	stop()
	kv, err := js.KeyValue(t.Context(), streams.BucketExecutions)
	if err != nil {
		t.Fatal(err)
	}
	views, err := kv.ListKeysFiltered(t.Context(), "view.>")
	if err != nil {
		t.Fatal(err)
	}
	revived := 0
	for key := range views.Keys() {
		entry, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		value, err := executions.Projection.Decode(key, entry.Value())
		if err != nil {
			t.Fatal(err)
		}
		e := value.(executions.Execution)
		if !e.Status.Final() {
			continue
		}
		revived++
		if _, err := kv.PutString(t.Context(), executions.ActiveKey(e.Owner, e.ID), executions.Ref(e.Owner, e.Number)); err != nil {
			t.Fatal(err)
		}
	}
	if revived == 0 {
		t.Fatal("no execution has ended")
	}
	p = NewExecutions(js)
	Start(t, p)
	WaitUntil(t, p, w.Write(t, 1))
	WantVerified(t, p)
}
