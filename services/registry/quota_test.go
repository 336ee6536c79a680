package registry

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// quotaOf is somebody's quota, with so many places for builds.
type quotaOf struct {
	mu           sync.Mutex
	places       int
	asked        int
	full, silent bool
}

func (q *quotaOf) AdmitUpload(context.Context, string, events.Blob) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.full {
		return api.Errorf(api.LimitReached, api.QuotaExceeded, "full")
	}
	return nil
}

func (q *quotaOf) AdmitBuild(context.Context, string, string, events.Blob) (func(), error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked++
	if q.places == 0 {
		return nil, api.Errorf(api.LimitReached, api.QuotaExceeded, "no place")
	}
	q.places--
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.places++
	}, nil
}

func (q *quotaOf) Rate(string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.silent {
		return api.Errorf(api.LimitReached, api.QuotaExceeded, "too often")
	}
	return nil
}

func (q *quotaOf) set(change func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change()
}

func TestDeploysAreWithinTheQuota(t *testing.T) {
	w, q := newWorld(t), &quotaOf{}
	w.options.Quotas = q
	w.start()
	bundle, build := w.stored(goodConfig, "all:"), api.NewID()
	wantName(t, deployError(w.deploy("ana", bundle, build, false)), api.QuotaExceeded)
	if got := w.types(); got != "" {
		t.Fatalf("refused, and appended: %s", got)
	}
	q.set(func() { q.places = 1 })
	if _, err := w.deploy("ana", bundle, build, false); err != nil {
		t.Fatal(err)
	}
	// The very same request has a place; what takes the artifact of another version needs none.
	if _, err := w.deploy("ana", bundle, build, false); err != nil {
		t.Error(err)
	}
	w.execute("ana", build, buildOf("pi")...)
	w.execute("ana", build, succeeded())
	if _, err := w.inspect("ana", api.FunctionInspect{Name: "pi", Build: build}); err != nil {
		t.Fatal(err)
	}
	if d, err := w.deploy("ana", bundle, api.NewID(), true); err != nil || !d.Reused {
		t.Errorf("%+v, %v", d, err)
	}
	if q.asked != 2 {
		t.Errorf("%d places were asked for, want 2", q.asked)
	}
}

// TestAPlaceThatIsNotUsedIsGivenBack: somebody else was faster with the same version.
func TestAPlaceThatIsNotUsedIsGivenBack(t *testing.T) {
	w, q := newWorld(t), &quotaOf{places: 5}
	w.options.Quotas = q
	bundle, other := w.stored(goodConfig, "all:"), w.stored(goodConfig, "all: other")
	raced := false
	w.options.Functions = racing{w.functions, func() bool {
		if !raced {
			raced = true
			event := events.Event{ID: api.NewID(), Source: "test", Time: noon, Data: events.FunctionRegistered{Version: "1.0.0", Bundle: other, Build: "B"}}
			_, err := w.functions.Append(w.t.Context(), events.FunctionSubject("ana", "pi"), 0, event)
			must(w.t, err)
			return true
		}
		return false
	}}
	w.start()
	wantName(t, deployError(w.deploy("ana", bundle, api.NewID(), false)), api.BuildInProgress)
	if q.places != 5 || q.asked != 1 {
		t.Errorf("%d places are left after %d were asked for", q.places, q.asked)
	}
}

// TestThePlaceIsAskedForAnew: somebody else was faster with another version, and the last place is still
// one.
func TestThePlaceIsAskedForAnew(t *testing.T) {
	w, q := newWorld(t), &quotaOf{places: 1}
	w.options.Quotas = q
	bundle, other := w.stored(goodConfig, "all:"), w.stored(goodConfig, "all: other")
	raced := false
	w.options.Functions = racing{w.functions, func() bool {
		if raced {
			return false
		}
		raced = true
		event := events.Event{ID: api.NewID(), Source: "test", Time: noon, Data: events.FunctionRegistered{Version: "0.9.0", Bundle: other, Build: "B"}}
		_, err := w.functions.Append(w.t.Context(), events.FunctionSubject("ana", "pi"), 0, event)
		must(w.t, err)
		return true
	}}
	w.start()
	if _, err := w.deploy("ana", bundle, api.NewID(), false); err != nil {
		t.Fatal(err)
	}
	if q.places != 0 || q.asked != 2 {
		t.Errorf("%d places are left after %d were asked for", q.places, q.asked)
	}
}

func TestUploadsAreWithinTheQuota(t *testing.T) {
	w, q := newWorld(t), &quotaOf{full: true}
	w.options.Quotas = q
	w.start()
	raw, blob := content(5)
	begin := func() error {
		_, err := api.Call[api.BlobUpload](t.Context(), w.client("ana"), api.OpBlobBegin, api.BlobBegin{Blob: blob})
		return err
	}
	wantName(t, begin(), api.QuotaExceeded)
	w.leavesNothing()
	q.set(func() { q.full, q.silent = false, true })
	wantName(t, begin(), api.QuotaExceeded)
	q.set(func() { q.silent = false })
	must(t, begin())
	// A watcher's artifacts are its user's when the build has ended.
	q.set(func() { q.full, q.silent = true, true })
	must(t, api.UploadArtifact(t.Context(), w.conn, "w", blob, bytes.NewReader(raw)))
}
