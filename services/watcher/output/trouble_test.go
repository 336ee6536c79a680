package output

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want class
	}{
		{nats.ErrDisconnected, silence},
		{jetstream.ErrAsyncPublishTimeout, silence},
		{errors.New("whatever"), silence},
		{jetstream.ErrNoStreamResponse, refusal},
		{&jetstream.APIError{ErrorCode: 10008}, refusal},
		{&jetstream.APIError{ErrorCode: codeStoreFailed}, final},
		{&jetstream.APIError{ErrorCode: codeStorageExceeded}, final},
	} {
		if got := classify(c.err); got != c.want {
			t.Errorf("classify(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestTroubleBelievesARefusalInTheEnd(t *testing.T) {
	t0 := time.Unix(1000, 0)
	var tr trouble
	note := func(err error, at time.Duration, want string) {
		t.Helper()
		if got := tr.note(err, t0.Add(at)); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("at %v: %q, want %q", at, got, want)
		}
	}
	note(jetstream.ErrNoStreamResponse, 0, "")
	note(nats.ErrDisconnected, time.Hour, "") // nobody refuses while nobody answers
	note(jetstream.ErrNoStreamResponse, time.Hour, "")
	note(jetstream.ErrNoStreamResponse, time.Hour+refusedFor-1, "")
	note(jetstream.ErrNoStreamResponse, time.Hour+refusedFor, "the server has refused")
	if tr.backoff() > maxBackoff {
		t.Errorf("backoff %v", tr.backoff())
	}
}
