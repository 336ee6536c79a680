package cli

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/cli/top"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// fleetEvery is how often the machines are looked at.
	fleetEvery = 2 * time.Second
	// settleTime is how long the cursor must rest on an execution before its output is asked for.
	settleTime = 150 * time.Millisecond
	// outputEvery is how often output that has come is handed on.
	outputEvery = 100 * time.Millisecond
	// tailBefore is how much of what was printed before is shown, in bytes.
	tailBefore = 16 << 10
	// mostBetween bounds what is handed on at once: more than that nobody reads.
	mostBetween = 256 << 10
)

// topFeed tells a view what the server knows.
type topFeed struct {
	app    *app
	client *api.Client
	// send hands a message to the view.
	send func(tea.Msg)
	// failed is why the view cannot go on.
	failed atomic.Pointer[error]

	ctx       context.Context
	cancelAll context.CancelFunc
	work      sync.WaitGroup
	mu        sync.Mutex
	// unfollow ends the following of the execution that was selected before.
	unfollow context.CancelFunc
}

func newTopFeed(a *app, client *api.Client) *topFeed {
	f := &topFeed{client: client, unfollow: func() {}}
	// What would be printed for a person stands in the view's last line.
	quiet := *a
	quiet.streams = &iostreams.Streams{Err: f}
	f.app = &quiet
	return f
}

// Write takes a note.
func (f *topFeed) Write(p []byte) (int, error) {
	text := strings.TrimSpace(strings.TrimPrefix(string(p), "hermes: "))
	if text == backAgain {
		text = "" // the keys stand there again
	}
	f.send(top.Said{Text: text})
	return len(p), nil
}

func (f *topFeed) start(ctx context.Context) {
	f.ctx, f.cancelAll = context.WithCancel(ctx)
	f.work.Go(f.hear)
	f.work.Go(f.look)
	f.work.Go(func() {
		for sleep(f.ctx, tickEvery) == nil {
			f.send(top.Tick(f.app.now()))
		}
	})
}

func (f *topFeed) stop() {
	f.mu.Lock() // no following begins any more
	f.cancelAll()
	f.mu.Unlock()
	f.work.Wait()
}

// hear lists what lives, and tells what happens from then on.
func (f *topFeed) hear() {
	h := &ear{app: f.app, client: f.client}
	_, err := h.begin(f.ctx)
	for listed := false; err == nil; {
		if !listed {
			page, failed := live(f.ctx, f.client)
			if failed != nil && !api.IsKind(failed, api.Unavailable) {
				err = failed
				break
			}
			if listed = failed == nil; !listed {
				if sleep(f.ctx, sendPause) != nil {
					return
				}
				continue
			}
			all := make([]executions.Execution, len(page.Executions))
			for i, e := range page.Executions {
				all[i] = e.Execution
			}
			f.send(top.Listed{Executions: all})
		}
		var happened []api.ListedEvent
		if happened, err = h.next(f.ctx); len(happened) > 0 {
			f.send(top.Happened{Events: happened})
			_ = sleep(f.ctx, redrawEvery)
		}
	}
	f.fail(err)
}

// fail ends the view.
func (f *topFeed) fail(err error) {
	if f.ctx.Err() != nil {
		return
	}
	f.failed.CompareAndSwap(nil, &err)
	f.send(tea.Quit())
}

// look tells how full the machines are.
func (f *topFeed) look() {
	for {
		ctx, cancel := context.WithTimeout(f.ctx, tryTime)
		fleet, err := api.Call[api.Fleet](ctx, f.client, api.OpFleet, api.FleetRequest{})
		cancel()
		if err == nil {
			f.send(top.Machines{Fleet: fleet})
			f.lookAtGPUs(fleet)
		}
		if sleep(f.ctx, fleetEvery) != nil {
			return
		}
	}
}

// lookAtGPUs tells what the GPUs do, where there are any.
func (f *topFeed) lookAtGPUs(fleet api.Fleet) {
	ctx, cancel := context.WithTimeout(f.ctx, tryTime)
	defer cancel()
	if gpus, err := gpusOfFleet(ctx, f.client, fleet); err == nil {
		f.send(top.Devices{GPUs: gpus})
	}
}

func (f *topFeed) cancel(id string) tea.Cmd {
	return func() tea.Msg {
		_, err := api.Call[api.Execution](f.ctx, f.client, api.OpExecutionCancel, api.ExecutionRef{ID: id})
		if err != nil {
			return top.Said{Text: "it could not be cancelled: " + describe(err).Message}
		}
		return top.Said{}
	}
}

// follow begins to hand on the output of an execution, and of no other.
func (f *topFeed) follow(id string) tea.Cmd {
	return func() tea.Msg {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.unfollow()
		ctx, cancel := context.WithCancel(f.ctx)
		f.unfollow = cancel
		if id != "" && ctx.Err() == nil {
			f.work.Go(func() { f.following(ctx, id) })
		}
		return nil
	}
}

func (f *topFeed) following(ctx context.Context, id string) {
	if sleep(ctx, settleTime) != nil {
		return
	}
	live, err := follow.Subscribe(f.client, id)
	if err != nil {
		f.send(top.Said{Text: "its output cannot be followed: " + describe(err).Message})
		return
	}
	defer live.Close()
	// It listens before it asks where it is: what is printed in between is heard.
	var from position
	if page, _, err := f.client.Output(ctx, api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}, Latest: true}); err == nil {
		from = position{page.Attempt, max(0, page.Begin-tailBefore)}
	}
	b := &outputBuffer{id: id, send: f.send, anew: true}
	var flushing sync.WaitGroup
	flushed, done := context.WithCancel(ctx)
	flushing.Go(func() {
		for sleep(flushed, outputEvery) == nil {
			b.flush()
		}
	})
	_, err = follow.Follow(ctx, follow.Options{
		Source: follow.Execution{Client: f.client, Ref: api.ExecutionRef{ID: id}, Live: live},
		Live:   live.Messages, Reconnected: live.Reconnected, FromStart: true,
		Attempt: from.attempt, From: from.offset, Write: b.take, Note: func(string, ...any) {},
	})
	done()
	flushing.Wait()
	b.flush()
	if err != nil && ctx.Err() == nil {
		f.send(top.Said{Text: describe(err).Message})
	}
}

// outputBuffer gathers output between two pictures.
type outputBuffer struct {
	id   string
	send func(tea.Msg)

	mu     sync.Mutex
	chunks []api.Chunk
	bytes  int
	anew   bool
}

func (b *outputBuffer) take(c api.Chunk) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks, b.bytes = append(b.chunks, c), b.bytes+len(c.Data)
	for b.bytes > mostBetween && len(b.chunks) > 1 {
		b.bytes -= len(b.chunks[0].Data)
		b.chunks = b.chunks[1:]
	}
	return nil
}

func (b *outputBuffer) flush() {
	b.mu.Lock()
	chunks, anew := b.chunks, b.anew
	if b.chunks, b.bytes = nil, 0; len(chunks) > 0 {
		b.anew = false
	}
	b.mu.Unlock()
	if len(chunks) > 0 {
		b.send(top.Printed{ID: b.id, Chunks: chunks, Anew: anew})
	}
}
