package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Runtime returns the runtime, with a clock on what takes the longest.
func (s *Set) Runtime(r sandbox.Runtime) sandbox.Runtime {
	s.registry.MustRegister(s.create, s.remove)
	return timedRuntime{r, s}
}

type timedRuntime struct {
	sandbox.Runtime
	set *Set
}

// Create implements sandbox.Runtime.
func (r timedRuntime) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	since := time.Now()
	box, err := r.Runtime.Create(ctx, spec)
	observe(r.set.create, since, err)
	if err != nil {
		return nil, err
	}
	return &timedBox{Sandbox: box, set: r.set}, nil
}

type timedBox struct {
	sandbox.Sandbox
	set     *Set
	removed sync.Once
}

// Remove implements sandbox.Sandbox. Only the removal that succeeds first is one.
func (b *timedBox) Remove(ctx context.Context) error {
	since := time.Now()
	err := b.Sandbox.Remove(ctx)
	if err != nil {
		observe(b.set.remove, since, err)
		return err
	}
	b.removed.Do(func() { observe(b.set.remove, since, nil) })
	return nil
}

func observe(h *prometheus.HistogramVec, since time.Time, err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	h.WithLabelValues(result).Observe(time.Since(since).Seconds())
}
