package watcher

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// fewBases has bases with an environment of their own, each after its gate is opened.
type fewBases struct {
	mu          sync.Mutex
	roots       map[string]string // by digest
	held        int
	done, total int64
	gate        chan struct{} // nil: open
}

func (b *fewBases) Stand(ctx context.Context, ref events.BaseRef) (string, []string, func(), error) {
	b.mu.Lock()
	gate, root := b.gate, b.roots[ref.Digest]
	b.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return "", nil, nil, ctx.Err()
		}
	}
	if root == "" {
		return "", nil, nil, fmt.Errorf("%w: %s", blobs.ErrNoBlob, ref.Digest)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held++
	release := func() { b.mu.Lock(); defer b.mu.Unlock(); b.held-- }
	return root, []string{"PATH=/opt/bin:/usr/bin:/bin", "HOME=/root", "FROM_IMAGE=yes", "LEVEL=1"}, release, nil
}

func (b *fewBases) Progress(events.BaseRef) (done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done, b.total
}

func (b *fewBases) standing() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

var gcc = events.BaseRef{Name: "gcc", Digest: "sha256:" + strings.Repeat("ab", 32)}

func (w *world) onBase(script string) api.RunRequest {
	r := w.request(w.function(script, 0o755))
	r.Request.Base, r.Request.Env = gcc.String(), map[string]string{"LEVEL": "3"}
	w.place(r)
	return r
}

// TestARunOnABase finds the environment of its image, what Hermes and the function say of it
// instead, and the base held until its sandbox is gone.
func TestARunOnABase(t *testing.T) {
	w := newWorld(t)
	w.bases.roots[gcc.Digest] = t.TempDir()
	w.watch()
	r := w.onBase(`echo "$PATH $HOME $FROM_IMAGE $LEVEL"`)
	report := next(t, "report", w.reports)
	want := "/opt/bin:/usr/bin:/bin /tmp yes 3\n"
	if got, _, _ := w.output(r); report.Outcome != api.Succeeded || got != want {
		t.Errorf("%+v printed %q, want %q", report, got, want)
	}
	w.eventually("the base is let go of", func() bool { return w.bases.standing() == 0 && w.box.count() == 0 })
}

// TestABaseThatIsGone ends the execution with the reason, at once.
func TestABaseThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.watch()
	w.onBase("true")
	report := next(t, "report", w.reports)
	if report.Outcome != api.Failed || report.Started || report.Reason != events.ReasonSandbox || !strings.Contains(report.Message, gcc.String()) {
		t.Errorf("it ended as %+v", report)
	}
}

// TestWhoWaitsForABaseIsTold: how far it has come, in tenths.
func TestWhoWaitsForABaseIsTold(t *testing.T) {
	w := newWorld(t)
	w.bases.roots[gcc.Digest], w.bases.gate, w.bases.done, w.bases.total = t.TempDir(), make(chan struct{}), 39<<20, 80<<20
	told := make(chan api.Preparing, 9)
	on(w, api.OpPreparing, func(p api.Preparing) any { told <- p; return api.PreparingReply{} })
	w.watch()
	r := w.onBase("true")
	if p := next(t, "word", told); p.AttemptRef != r.AttemptRef || p.Doing != "fetching the base gcc, 80 MiB: 40 %" {
		t.Errorf("told %+v", p)
	}
	close(w.bases.gate)
	if report := next(t, "report", w.reports); report.Outcome != api.Succeeded {
		t.Errorf("it ended as %+v", report)
	}
}
