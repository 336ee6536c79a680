package accounts

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/services/api"
)

// stuck is a log of a server that does not answer.
type stuck struct{ log.Log }

func (stuck) Head(ctx context.Context, _ string) (uint64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// TestTheAuditDoesNotHoldUpTheEnd: however much there is to record that cannot be, the service ends soon.
func TestTheAuditDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{
			Options:  Options{Audit: stuck{}, Now: time.Now, NewID: api.NewID, Log: slog.New(slog.DiscardHandler)},
			recorder: newRecorder(), directory: newDirectory(),
		}
		for i := range maxFailures {
			s.failed("", fmt.Sprint("192.0.2.", i), events.LoginPassword)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.recordAlways(ctx) }()
		synctest.Wait()
		cancel()
		began := time.Now()
		<-ended
		if took := time.Since(began); took > 2*lastRecords {
			t.Errorf("it ends after %v", took)
		}
	})
}
