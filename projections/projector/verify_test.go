package projector

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// corrupt changes one view, removes another, adds one that should not be and miscounts.
func corrupt(t *testing.T, js jetstream.JetStream) (keys []string) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), streams.BucketExecutions)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"view.alice.1": `{"id":"forged"}`, "view.zoe.1": `{}`, "user.bob": `{"last":3000}`,
	} {
		if _, err := kv.PutString(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	if err := kv.Delete(t.Context(), "view.carol.1"); err != nil {
		t.Fatal(err)
	}
	keys = append(keys, "view.carol.1")
	slices.Sort(keys)
	return keys
}

func keysOf(found []Difference) (keys []string) {
	for _, d := range found {
		keys = append(keys, d.Key)
	}
	slices.Sort(keys)
	return keys
}

func TestVerifyFindsAndRebuildCorrects(t *testing.T) {
	js := Connect(t)
	p := NewExecutions(js)
	stop := Start(t, p)
	w := NewWriter(p.o.Log, 5)
	WaitUntil(t, p, w.Write(t, 300))
	stop()
	want := corrupt(t, js)
	found, err := p.Verify(t.Context())
	if err != nil || !slices.Equal(keysOf(found), want) {
		t.Fatalf("verify: %v, %v, want %v", keysOf(found), err, want)
	}
	if found, err = p.Rebuild(t.Context()); err != nil || !slices.Equal(keysOf(found), want) {
		t.Fatalf("rebuild: %v, %v, want %v", keysOf(found), err, want)
	}
	WantVerified(t, p)
	wantCounts(t, p, w)
	if found, err = p.Rebuild(t.Context()); err != nil || len(found) != 0 {
		t.Fatalf("a second rebuild corrected %v, %v", keysOf(found), err)
	}
}

// TestRebuildWhileWriting corrupts and rebuilds, with another process's projector at work, events
// arriving and a reader that must find a view at every moment.
func TestRebuildWhileWriting(t *testing.T) {
	js := Connect(t)
	p, elsewhere := NewExecutions(js), NewExecutions(js)
	p.o.Standby = 100 * time.Millisecond
	Start(t, p)
	w := NewWriter(p.o.Log, 6)
	WaitUntil(t, p, w.Write(t, 300))
	kv, err := js.KeyValue(t.Context(), streams.BucketExecutions)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := kv.Get(ctx, "view.bob.1"); err != nil && ctx.Err() == nil {
				t.Errorf("a reader finds %v", err)
				return
			}
		}
	})
	var last uint64
	wg.Go(func() {
		for ctx.Err() == nil {
			last = w.Write(t, 10)
			WaitUntil(t, p, last) // or the log outgrows what it is folded with
		}
	})
	for range 3 {
		corrupt(t, js)
		if _, err := elsewhere.Rebuild(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := p.Rebuild(t.Context()); err != nil {
			t.Error(err)
		}
		if found, err := p.Verify(t.Context()); err != nil || len(found) != 0 {
			t.Errorf("verify while writing: %v, %v", keysOf(found), err)
		}
	}
	cancel()
	wg.Wait()
	WaitUntil(t, p, last)
	WantVerified(t, p)
	wantCounts(t, p, w)
}

// TestRebuildWholeLog loses the beginning of the stream and the whole bucket.
func TestRebuildWholeLog(t *testing.T) {
	js := Connect(t)
	p := NewExecutions(js)
	stop := Start(t, p)
	w := NewWriter(p.o.Log, 8)
	last := w.Write(t, 300)
	WaitUntil(t, p, last)
	stop()
	waitForHistory(t, js, 300)
	trim(t, js, 50)
	corrupt(t, js)
	if _, err := p.Verify(t.Context()); err != nil && !errors.Is(err, ErrAhead) {
		t.Fatal(err)
	}
	p.o.Whole = jslog.NewWhole(js, streams.History, streams.Executions).Read
	if found, err := p.Rebuild(t.Context()); err != nil || len(found) != 4 {
		t.Fatalf("rebuild corrected %v, %v", keysOf(found), err)
	}
	WantVerified(t, p)
	wantCounts(t, p, w)
}

func waitForHistory(t *testing.T, js jetstream.JetStream, n uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for r, err := range jslog.New(js, streams.History).Follow(ctx, ">", 1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Sequence == n {
			return
		}
	}
}

// trim leaves the newest n messages of the executions, as retention does.
func trim(t *testing.T, js jetstream.JetStream, n int64) {
	t.Helper()
	s, err := js.Stream(t.Context(), streams.Executions)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.MaxMsgs = n
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// forgetful lets go of its first records between two reads.
type forgetful struct {
	*memlog.Log
	reads int
}

func (f *forgetful) Read(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error] {
	if f.reads++; f.reads > 1 {
		from = max(from, 6)
	}
	return f.Log.Read(ctx, filter, from)
}

// TestFoldOfALogThatLetsGoMeanwhile: it is no view that lacks what the log had.
func TestFoldOfALogThatLetsGoMeanwhile(t *testing.T) {
	l := &forgetful{Log: memlog.New()}
	last := lives(t, l.Log, 0, 5)
	f, err := newFold(Options{Log: l, Whole: func(context.Context, uint64) iter.Seq2[events.Record, error] { panic("it was all there") }, Projection: executions.Projection})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.advance(t.Context(), last, 0); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("it is folded with a gap: %v", err)
	}
}
