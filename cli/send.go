package cli

import (
	"context"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// sendTime is how long a request that has an id is repeated: a server that restarts is back
	// sooner, and the id makes a repetition harmless.
	sendTime = 5 * time.Second
	// sendPause is the time between two tries.
	sendPause = 200 * time.Millisecond
)

// send makes a request that may be repeated, again and again while nobody answers.
func send[Reply any](ctx context.Context, c *api.Client, op string, request any) (Reply, error) {
	for start := time.Now(); ; {
		reply, err := api.Call[Reply](ctx, c, op, request)
		if !api.IsKind(err, api.Unavailable) || time.Since(start) > sendTime {
			return reply, err
		}
		if err := sleep(ctx, sendPause); err != nil {
			return reply, err
		}
	}
}

// tryTime bounds one try of a read: an answer that a breaking connection took along never comes.
const tryTime = 3 * time.Second

// retried makes a read again and again while nobody answers.
func retried(ctx context.Context, read func(context.Context) error) error {
	for start := time.Now(); ; {
		try, cancel := context.WithTimeout(ctx, tryTime)
		err := read(try)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !api.IsKind(err, api.Unavailable) || time.Since(start) > sendTime {
			return err
		}
		if err := sleep(ctx, sendPause); err != nil {
			return err
		}
	}
}

// sleep returns when the time is over, or with the context's error when that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
