package cli

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// waitingBytes is about how much of stdin is read ahead of what the function has taken.
	waitingBytes = 256 << 10
	// A function that does not read as fast as it is sent to is asked again after a pause that grows.
	shortestPause, longestPause = 5 * time.Millisecond, time.Second
)

// typing sends what is typed or piped to an interactive execution, for as long as it takes any.
type typing struct {
	app    *app
	client *api.Client
	id     string
	// changed asks the sender to look, room the reader.
	changed, room chan struct{}

	mu sync.Mutex
	// waiting was read and is not yet taken.
	waiting []byte
	// ended: stdin is at its end. over: nothing more is taken.
	ended, over bool
	// answers get the next line, in the function's place.
	answers chan<- string
}

func (a *app) newTyping(client *api.Client, id string) *typing {
	return &typing{app: a, client: client, id: id, changed: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// forward sends stdin until stop is called. Who waits for a line of a terminal cannot be stopped, and
// is left alone.
func (t *typing) forward(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	sent := make(chan struct{})
	go t.read()
	go func() { defer close(sent); t.send(ctx); t.close() }()
	return func() { cancel(); <-sent }
}

func (t *typing) read() {
	part := make([]byte, 32<<10)
	for {
		n, err := t.app.streams.In.Read(part)
		if n > 0 && !t.put(part[:n]) {
			return
		}
		if err != nil {
			t.end()
			return
		}
	}
}

// put takes what was read, when there is room for it. It is false when nothing more is of use.
func (t *typing) put(data []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answers != nil {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		t.answers <- string(line)
		t.answers, data = nil, rest
	}
	// A question may come while there is no room: then the answer is to be read.
	for len(t.waiting) >= waitingBytes && !t.over && t.answers == nil {
		t.mu.Unlock()
		<-t.room
		t.mu.Lock()
	}
	if t.over {
		return false
	}
	t.waiting = append(t.waiting, data...)
	poke(t.changed)
	return true
}

func (t *typing) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answers != nil {
		t.answers <- "eof"
		t.answers = nil
	}
	t.ended = true
	poke(t.changed)
}

// answer has the next line that is typed sent there. It is false when stdin is not read any more.
func (t *typing) answer(to chan<- string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || t.over {
		return false
	}
	t.answers = to
	poke(t.room)
	return true
}

func (t *typing) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over, t.waiting = true, nil
	poke(t.room)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// send sends piece after piece, each again until it is answered: the offset says what is new of it.
func (t *typing) send(ctx context.Context) {
	pause := shortestPause
	for offset := int64(0); ; {
		piece, end := t.piece(ctx)
		if ctx.Err() != nil {
			return
		}
		taken, err := t.ask(ctx, api.ExecutionInput{ID: t.id, Offset: offset, Data: piece, End: end})
		switch {
		case ctx.Err() != nil:
			return
		case api.IsKind(err, api.Unavailable), api.IsKind(err, api.Internal):
			_ = sleep(ctx, sendPause)
			continue
		case err != nil:
			t.refused(ctx, offset, err)
			return
		case taken.Closed || taken.Offset < offset || taken.Offset > offset+int64(len(piece)):
			return
		}
		switch n := taken.Offset - offset; {
		case n > 0 || len(piece) == 0:
			t.drop(int(n))
			offset, pause = taken.Offset, shortestPause
		case !taken.Waiting:
			_ = sleep(ctx, pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// piece waits for what is to be sent next: nothing, when nobody has typed for a while.
func (t *typing) piece(ctx context.Context) (piece []byte, end bool) {
	heartbeat := time.NewTimer(api.InputHeartbeat)
	defer heartbeat.Stop()
	for {
		t.mu.Lock()
		piece = t.waiting[:min(len(t.waiting), api.MaxInputPiece)]
		end = t.ended && len(piece) == len(t.waiting)
		t.mu.Unlock()
		if len(piece) > 0 || end {
			return piece, end
		}
		select {
		case <-t.changed:
		case <-heartbeat.C:
			return nil, false
		case <-ctx.Done():
			return nil, false
		}
	}
}

func (t *typing) drop(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = t.waiting[n:]
	poke(t.room)
}

func (t *typing) ask(ctx context.Context, piece api.ExecutionInput) (api.InputTaken, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	return api.Call[api.InputTaken](ctx, t.client, api.OpExecutionInput, piece)
}

// refused ends an input of which no more is taken: the function need not wait for the rest.
func (t *typing) refused(ctx context.Context, offset int64, err error) {
	e := describe(err)
	if e.Name == api.ProcessFinished {
		return
	}
	t.app.note("the function's input ends here: %s", e.Message)
	_, _ = t.ask(ctx, api.ExecutionInput{ID: t.id, Offset: offset, End: true})
}
