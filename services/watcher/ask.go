package watcher

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
)

const (
	askTimeout    = 5 * time.Second
	minAskBackoff = 25 * time.Millisecond
	maxAskBackoff = 2 * time.Second
	// refusedBackoff holds for an orchestrator that answers and says no: its answer may change
	// only when somebody mends something.
	refusedBackoff = 30 * time.Second
)

// asker puts questions to the orchestrator.
type asker struct {
	nc   *nats.Conn
	name string
	log  *slog.Logger
}

// once asks once. Its error is an *api.Error or the context's.
func once[Reply any](ctx context.Context, a asker, op string, request any) (Reply, error) {
	var reply Reply
	raw, err := json.Marshal(request)
	if err != nil {
		return reply, fmt.Errorf("encode %s: %w", op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := api.Request(ctx, a.nc, api.WatchSubject(a.name, op), raw)
	if err != nil {
		return reply, err
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return reply, api.Errorf(api.Internal, api.InternalError, "the orchestrator's answer to %s cannot be read: %v", op, err)
	}
	return reply, nil
}

// untilAnswered asks until there is an answer or the context ends, which is its only error.
func untilAnswered[Reply any](ctx context.Context, a asker, op string, request any) (Reply, error) {
	for tries := 0; ; tries++ {
		reply, err := once[Reply](ctx, a, op, request)
		if err == nil {
			return reply, nil
		}
		if ctx.Err() != nil {
			return reply, ctx.Err()
		}
		wait := askBackoff(tries, err)
		if wait == refusedBackoff || tries == 3 {
			a.log.Warn("the orchestrator does not answer as it should; asking on", "op", op, "err", err)
		}
		if !pause(ctx, wait) {
			return reply, ctx.Err()
		}
	}
}

// askBackoff is how long to wait after this many earlier failures and this one.
func askBackoff(tries int, err error) time.Duration {
	if e, ok := api.AsError(err); ok && e.Kind != api.Unavailable && e.Kind != api.Internal {
		return refusedBackoff
	}
	return min(minAskBackoff<<min(tries, 10), maxAskBackoff)
}

// pause waits, and is false when the context ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
