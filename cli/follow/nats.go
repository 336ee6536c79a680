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
const answerTime = 5 * time.Second

// Execution is a Source: one execution on a server.
type Execution struct {
	Client *api.Client
	Ref    api.ExecutionRef
	// Until is how long NotFound means "not yet": another service makes the execution of a build
	// after the one that was asked has answered. Zero is never.
	Until time.Time
}

// Wait implements Source.
func (e Execution) Wait(ctx context.Context, d time.Duration) (api.Execution, error) {
	ctx, cancel := context.WithTimeout(ctx, d+answerTime)
	defer cancel()
	ask := api.ExecutionWait{ExecutionRef: e.Ref, WaitMillis: d.Milliseconds()}
	return lasting(e, func() (api.Execution, error) {
		return api.Call[api.Execution](ctx, e.Client, api.OpExecutionWait, ask)
	})
}

// Inspect implements Source.
func (e Execution) Inspect(ctx context.Context) (api.Execution, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return lasting(e, func() (api.Execution, error) {
		return api.Call[api.Execution](ctx, e.Client, api.OpExecutionInspect, e.Ref)
	})
}

// Output implements Source.
func (e Execution) Output(ctx context.Context, from int64) (api.OutputPage, []api.Chunk, error) {
	type both struct {
		page   api.OutputPage
		chunks []api.Chunk
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	got, err := lasting(e, func() (both, error) {
		page, chunks, err := e.Client.Output(ctx, api.ExecutionOutput{ExecutionRef: e.Ref, From: from})
		return both{page, chunks}, err
	})
	return got.page, got.chunks, err
}

// lasting makes an error final once the connection is closed: it will not come back by itself.
func lasting[T any](e Execution, ask func() (T, error)) (T, error) {
	got, err := ask()
	if api.IsKind(err, api.NotFound) && time.Now().Before(e.Until) {
		return got, ErrNotYet
	}
	if err == nil || !e.Client.Conn().IsClosed() {
		return got, err
	}
	last := e.Client.Conn().LastError()
	if errors.Is(last, nats.ErrAuthExpired) || errors.Is(last, nats.ErrAuthorization) {
		return got, api.Errorf(api.Unauthorized, "AuthenticationError", "the server does not accept the credentials any more")
	}
	return got, api.Errorf(api.Internal, api.ServerUnavailable, "the connection to the server was closed")
}

// Live is a subscription to an execution's output.
type Live struct {
	Messages    <-chan Message
	Reconnected <-chan struct{}
	stop        func()
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
	connected := nc.StatusChanged(nats.CONNECTED)
	var work sync.WaitGroup
	work.Go(func() { pump(ctx, sub, messages) })
	work.Go(func() { relay(ctx, connected, reconnected) })
	stop := func() {
		_ = sub.Unsubscribe()
		nc.RemoveStatusListener(connected)
		cancel()
		work.Wait()
	}
	return &Live{Messages: messages, Reconnected: reconnected, stop: stop}, nil
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

// relay tells of each reconnect, at most once until it has been heard.
func relay(ctx context.Context, connected <-chan nats.Status, to chan<- struct{}) {
	for {
		select {
		case _, ok := <-connected:
			if !ok {
				return
			}
			select {
			case to <- struct{}{}:
			default:
			}
		case <-ctx.Done():
			return
		}
	}
}
