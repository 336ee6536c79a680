package retention

import (
	"context"
	"time"
)

// firstAfter gives the others time to catch up with the log after a start.
const firstAfter = 10 * time.Minute

// regularly calls do first after a while and then at every interval, until the context ends.
func regularly(ctx context.Context, first, every time.Duration, do func()) {
	next := time.NewTimer(first)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(every)
		do()
	}
}
