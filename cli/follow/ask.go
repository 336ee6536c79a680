package follow

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
)

// Ask sends a request whose answer may take long, and waits for it at most so long, and no longer than the
// connection holds: after it has broken no answer comes any more. That error is Unavailable.
func Ask[Reply any](parent context.Context, c *api.Client, most time.Duration, op string, request any) (Reply, error) {
	nc := c.Conn()
	broke := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer nc.RemoveStatusListener(broke)
	var none Reply
	switch {
	case nc.IsReconnecting():
		return none, lost()
	case nc.IsClosed():
		return none, closed(nc)
	}
	ctx, cancel := context.WithTimeout(parent, most)
	defer cancel()
	go func() {
		select {
		case <-broke:
			cancel()
		case <-ctx.Done():
		}
	}()
	reply, err := api.Call[Reply](ctx, c, op, request)
	switch {
	case err == nil || parent.Err() != nil:
	case nc.IsClosed():
		err = closed(nc)
	case errors.Is(err, context.Canceled):
		err = lost()
	}
	return reply, err
}
