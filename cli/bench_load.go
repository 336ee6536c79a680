package cli

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// benchWait is how long one request for the end of a run waits; then it is asked again.
const benchWait = 5 * time.Second

// benchSample is one run, on the client's clock and as its events tell.
type benchSample struct {
	exec api.Execution
	// err is why the client does not trust what it got of a run, though it was accepted.
	err error
	// accept is from asking to being promised the run, total from asking to having all of it. total
	// is 0 where nobody stood by.
	accept, total time.Duration
}

// benchMeasured are all runs that have ended and the time from the first request to the last end.
type benchMeasured struct {
	samples []benchSample
	took    time.Duration
}

// benchLoad makes the runs. Each client has a connection of its own and keeps it.
type benchLoad struct {
	app     *app
	ref     events.FunctionRef
	input   events.Input
	clients []*api.Client
	closers []func()
}

func (l *benchLoad) connect() error {
	client, done, err := l.app.connect()
	if err != nil {
		return err
	}
	l.clients, l.closers = append(l.clients, client), append(l.closers, done)
	return nil
}

func (l *benchLoad) close() {
	for _, done := range l.closers {
		done()
	}
}

// run makes n runs, each client one after another, and returns those that have ended.
func (l *benchLoad) run(stop *benchStop, n int, what string) ([]benchSample, error) {
	return l.each(stop.starting, n, what, func(client *api.Client, _ int) (benchSample, error) {
		return l.watched(stop.waiting, client)
	})
}

// handIn makes n runs without waiting for their ends, and then waits for those.
func (l *benchLoad) handIn(stop *benchStop, n int) ([]benchSample, error) {
	accepted, err := l.each(stop.starting, n, "handed in", func(client *api.Client, _ int) (benchSample, error) {
		return l.promised(stop.waiting, client, l.ask())
	})
	ended, waitErr := l.each(stop.waiting, len(accepted), "ended", func(client *api.Client, i int) (benchSample, error) {
		return l.ended(stop.waiting, client, accepted[i])
	})
	if err == nil {
		err = waitErr
	}
	return ended, err
}

// each lets every client do one after another until n are done or ctx is over. An error of do ends
// it for all, once those that are under way are done; what was done until then is returned too.
func (l *benchLoad) each(ctx context.Context, n int, what string, do func(*api.Client, int) (benchSample, error)) ([]benchSample, error) {
	group, more := errgroup.WithContext(ctx)
	bar := &lazyBar{app: l.app, total: int64(n), what: what, start: l.app.now(), counts: true}
	defer bar.finish()
	var next atomic.Int64
	var mu sync.Mutex
	var samples []benchSample
	for _, client := range l.clients {
		group.Go(func() error {
			for more.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					break
				}
				s, err := do(client, i)
				if err != nil {
					return err
				}
				mu.Lock()
				samples = append(samples, s)
				bar.set(int64(len(samples)))
				mu.Unlock()
			}
			return nil
		})
	}
	err := group.Wait()
	return samples, err
}

func (l *benchLoad) ask() api.Run {
	return api.Run{ID: api.NewID(), Function: l.ref, Input: l.input}
}

// promised asks for a run. A request that is refused is an error: the next would be refused, too.
func (l *benchLoad) promised(ctx context.Context, client *api.Client, ask api.Run) (benchSample, error) {
	start := time.Now()
	accepted, err := send[api.Accepted](ctx, client, api.OpRun, ask)
	if err != nil {
		return benchSample{}, suggest(ctx, client, l.ref, err)
	}
	s := benchSample{accept: time.Since(start)}
	s.exec.ID, s.exec.Sequence = accepted.ID, accepted.Sequence
	return s, nil
}

// watched is a run as `function run` makes it, its output checked and thrown away.
func (l *benchLoad) watched(ctx context.Context, client *api.Client) (benchSample, error) {
	start, ask := time.Now(), l.ask()
	live, err := follow.Subscribe(client, ask.ID)
	if err != nil {
		return benchSample{}, err
	}
	defer live.Close()
	s, err := l.promised(ctx, client, ask)
	if err != nil {
		return s, err
	}
	ref := api.ExecutionRef{ID: ask.ID, MinSequence: s.exec.Sequence}
	s.exec, s.err = follow.Follow(ctx, follow.Options{
		Source: follow.Execution{Client: client, Ref: ref, Live: live},
		Live:   live.Messages, Reconnected: live.Reconnected, After: ref.MinSequence,
		Write: func(api.Chunk) error { return nil }, Note: func(string, ...any) {},
	})
	s.total = time.Since(start)
	return s, ctx.Err()
}

// ended waits for the end of a run that was handed in.
func (l *benchLoad) ended(ctx context.Context, client *api.Client, s benchSample) (benchSample, error) {
	ask := api.ExecutionWait{
		ExecutionRef: api.ExecutionRef{ID: s.exec.ID, MinSequence: s.exec.Sequence},
		WaitMillis:   benchWait.Milliseconds(),
	}
	for s.err == nil && !s.exec.Status.Final() {
		e, err := send[api.Execution](ctx, client, api.OpExecutionWait, ask)
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		if s.err = err; err == nil {
			s.exec = e
		}
	}
	return s, nil
}
