package follow

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
)

// answerTime is how much longer than the wait that was asked for an answer may take.
const answerTime = 3 * time.Second

// Execution is a Source: one execution on a server.
type Execution struct {
	Client *api.Client
	Ref    api.ExecutionRef
	// Live tells of broken connections: a request that was under way then is never answered.
	Live *Live
	// Until is how long NotFound means "not yet": another service makes the execution of a build
	// after the one that was asked has answered. Zero is never.
	Until time.Time
}

// Wait implements Source.
func (e Execution) Wait(ctx context.Context, after uint64, d time.Duration) (api.Execution, error) {
	ask := api.ExecutionWait{ExecutionRef: e.Ref, WaitMillis: d.Milliseconds(), Changes: true, After: after}
	return request(ctx, e, d+answerTime, func(ctx context.Context) (api.Execution, error) {
		return api.Call[api.Execution](ctx, e.Client, api.OpExecutionWait, ask)
	})
}

// Inspect implements Source.
func (e Execution) Inspect(ctx context.Context) (api.Execution, error) {
	return request(ctx, e, answerTime, func(ctx context.Context) (api.Execution, error) {
		return api.Call[api.Execution](ctx, e.Client, api.OpExecutionInspect, e.Ref)
	})
}

// Output implements Source.
func (e Execution) Output(ctx context.Context, from int64, cursor uint64) (api.OutputPage, []api.Chunk, error) {
	type both struct {
		page   api.OutputPage
		chunks []api.Chunk
	}
	got, err := request(ctx, e, answerTime, func(ctx context.Context) (both, error) {
		page, chunks, err := e.Client.Output(ctx, api.ExecutionOutput{ExecutionRef: e.Ref, From: from, Cursor: cursor})
		return both{page, chunks}, err
	})
	return got.page, got.chunks, err
}

// request asks once, until the time is over or the connection breaks, and gives the error the
// meaning that a Source promises. On a broken connection it does not ask: the request would be kept
// until there is one again, and nothing said meanwhile.
func request[T any](parent context.Context, e Execution, most time.Duration, ask func(context.Context) (T, error)) (T, error) {
	if e.Client.Conn().IsReconnecting() {
		var none T
		return none, lost()
	}
	ctx, cancel := context.WithTimeout(parent, most)
	defer cancel()
	defer context.AfterFunc(e.Live.unbroken(), cancel)()
	got, err := ask(ctx)
	switch {
	case err == nil || parent.Err() != nil:
		return got, err
	case api.IsKind(err, api.NotFound) && time.Now().Before(e.Until):
		return got, ErrNotYet
	case e.Client.Conn().IsClosed():
		return got, closed(e.Client.Conn())
	case errors.Is(err, context.Canceled):
		return got, lost()
	}
	return got, err
}

func lost() error {
	return api.Errorf(api.Unavailable, api.ServerUnavailable, "the connection to the server is lost")
}

// closed is final: the connection does not come back by itself.
func closed(nc *nats.Conn) error {
	last := nc.LastError()
	if errors.Is(last, nats.ErrAuthExpired) || errors.Is(last, nats.ErrAuthorization) {
		return api.Errorf(api.Unauthorized, "AuthenticationError", "the server does not accept the credentials any more")
	}
	return api.Errorf(api.Internal, api.ServerUnavailable, "the connection to the server was closed")
}

// Live is a subscription to an execution's output.
type Live struct {
	Messages    <-chan Message
	Reconnected <-chan struct{}
	stop        func()

	mu sync.Mutex
	// whole ends when the connection breaks; then there is another.
	whole      context.Context
	breakWhole context.CancelFunc
}

// unbroken is done when the connection breaks.
func (l *Live) unbroken() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole
}

func (l *Live) broke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breakWhole()
	l.whole, l.breakWhole = context.WithCancel(context.Background())
}

// Close ends the subscription and waits for what works on it.
func (l *Live) Close() { l.stop() }

// Subscribe listens to the output of the execution with this id. The subscription may drop
// messages when its reader is slow; that is a gap like every other.
func Subscribe(c *api.Client, id string) (*Live, error) {
	nc := c.Conn()
	sub, err := nc.SubscribeSync(c.OutputSubject(id))
	if err != nil {
		return nil, api.Errorf(api.Unavailable, api.ServerUnavailable, "cannot listen to the output: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	messages, reconnected := make(chan Message), make(chan struct{}, 1)
	l := &Live{Messages: messages, Reconnected: reconnected}
	l.whole, l.breakWhole = context.WithCancel(context.Background())
	status := nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING)
	var work sync.WaitGroup
	work.Go(func() { pump(ctx, sub, messages) })
	work.Go(func() { l.relay(ctx, status, reconnected) })
	l.stop = func() {
		_ = sub.Unsubscribe()
		nc.RemoveStatusListener(status)
		cancel()
		work.Wait()
		l.breakWhole()
	}
	return l, nil
}

func pump(ctx context.Context, sub *nats.Subscription, to chan<- Message) {
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrSlowConsumer) {
			continue
		}
		if err != nil {
			return
		}
		chunk, err := api.ParseChunk(m)
		tokens := strings.Split(m.Subject, ".")
		if err != nil || len(tokens) < 3 {
			continue // not from a watcher that speaks our language; a gap, if it was output
		}
		if !hand(ctx, to, Message{Watcher: tokens[2], Chunk: chunk}) {
			return
		}
	}
}

// relay tells of each break, and of each reconnect at most once until it has been heard.
func (l *Live) relay(ctx context.Context, changes <-chan nats.Status, reconnected chan<- struct{}) {
	for {
		select {
		case status, ok := <-changes:
			switch {
			case !ok:
				return
			case status == nats.RECONNECTING:
				l.broke()
				continue
			}
			select {
			case reconnected <- struct{}{}:
			default:
			}
		case <-ctx.Done():
			return
		}
	}
}
