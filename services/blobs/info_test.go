package blobs

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// behind returns the store as somebody sees it who is answered by a replica that has not heard of some
// names yet: that many questions are told that there is nothing.
func behind(t *testing.T, s *Store, prefix string) (*Store, *atomic.Int64) {
	t.Helper()
	var left atomic.Int64
	nc := s.js.Conn()
	sub, err := nc.Subscribe(prefix+".>", func(m *nats.Msg) {
		api := strings.TrimPrefix(m.Subject, prefix+".")
		if strings.Contains(api, "DIRECT.GET.") && strings.Contains(api, ".M.") && left.Add(-1) >= 0 {
			none := nats.NewMsg(m.Reply)
			none.Header.Set("Status", "404")
			none.Header.Set("Description", "Message Not Found")
			_ = nc.PublishMsg(none)
			return
		}
		_ = nc.PublishRequest("$JS.API."+api, m.Reply, m.Data)
	})
	must(t, err)
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	js, err := jetstream.NewWithAPIPrefix(nc, prefix)
	must(t, err)
	lagging, err := Open(t.Context(), js, s.bucket)
	must(t, err)
	return lagging, &left
}

// TestReplicaThatIsBehind: what is stored is found, whoever is asked first.
func TestReplicaThatIsBehind(t *testing.T) {
	s, _ := bucket(t)
	content := random(1000)
	blob := blobOf(content)
	must(t, s.Put(t.Context(), blob, bytes.NewReader(content)))
	must(t, s.AddHolder(t.Context(), "ana", blob.Digest))
	lagging, left := behind(t, s, "LAG.API")
	left.Store(1 << 40)
	if holds, err := lagging.IsHolder(t.Context(), "ana", blob.Digest); err != nil || !holds {
		t.Errorf("ana holds it: %v, %v", holds, err)
	}
	if holds, err := lagging.IsHolder(t.Context(), "zoe", blob.Digest); err != nil || holds {
		t.Errorf("zoe holds it: %v, %v", holds, err)
	}
	got := &bytes.Buffer{}
	if err := lagging.Get(t.Context(), blob, got); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Errorf("got %d bytes, %v", got.Len(), err)
	}
	if left.Load() == 1<<40 {
		t.Error("no replica was behind")
	}
	// What was deleted is not there, though its name is.
	lagging, left = behind(t, s, "GONE.API")
	must(t, s.Delete(t.Context(), blob.Digest))
	left.Store(1)
	if _, err := lagging.Stat(t.Context(), blob.Digest); !errors.Is(err, ErrNoBlob) {
		t.Errorf("deleted: %v", err)
	}
	if _, err := get.LeaderLast(t.Context(), s.js, streams.BlobsStream(s.bucket), s.infoSubject(objectName(blob.Digest))); err != nil {
		t.Errorf("a deletion leaves its info: %v", err)
	}
}
