package instance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// TestADownloadOutlivesALeader: a part that nobody answers for is asked for again, and those before it are
// not; what is refused or is not there is not asked for again.
func TestADownloadOutlivesALeader(t *testing.T) {
	nc := natstest.Connect(t).Conn()
	content := []byte("abc")
	sum := events.NewBlobWriter(io.Discard)
	_, _ = sum.Write(content)
	for what, c := range map[string]struct {
		// trouble is the first answer to the question for the second part.
		trouble error
		want    error
		kind    api.Kind
	}{
		"nobody leads": {trouble: api.Errorf(api.Unavailable, api.ServerUnavailable, "not yet")},
		"refused":      {trouble: api.Errorf(api.Unauthorized, api.NotPermitted, "no"), kind: api.Unauthorized},
		"gone":         {trouble: api.Errorf(api.NotFound, api.NoSuchBlob, "gone"), want: blobs.ErrNoBlob},
	} {
		leader, err := api.NewServer(nc, "leader", "0.0.0", "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan uint64, 100)
		troubles := make(chan error, 1)
		troubles <- c.trouble
		err = leader.Handle("read", api.WatchSubject("*", api.OpBlobRead), func(_ context.Context, _ string, raw []byte) (nats.Header, []byte, error) {
			var ask api.BlobRead
			if err := json.Unmarshal(raw, &ask); err != nil {
				return nil, nil, err
			}
			asked <- ask.After
			if ask.After == 1 {
				select {
				case err := <-troubles:
					return nil, nil, err
				default:
				}
			}
			header, err := json.Marshal(api.BlobPart{Cursor: ask.After + 1})
			return nats.Header{api.HeaderPage: {string(header)}}, content[ask.After:][:1], err
		})
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		err = newWatcherBlobs(nc, "w1").Get(t.Context(), sum.Blob(), &got)
		switch {
		case c.want == nil && c.kind == "":
			if err != nil || got.String() != string(content) {
				t.Errorf("%s: %q, %v", what, got.String(), err)
			}
		case !errors.Is(err, c.want) && !api.IsKind(err, c.kind):
			t.Errorf("%s: %v", what, err)
		}
		if err := leader.Stop(); err != nil {
			t.Fatal(err)
		}
		close(asked)
		var all []uint64
		for after := range asked {
			all = append(all, after)
		}
		slices.Sort(all)
		want := []uint64{0, 1, 1, 2}
		if c.kind != "" || c.want != nil {
			want = []uint64{0, 1, 2}
		}
		if !slices.Equal(all, want) && !slices.Equal(all, slices.DeleteFunc(want, func(n uint64) bool { return n == 2 })) {
			t.Errorf("%s: asked for what is behind %v", what, all)
		}
	}
}
