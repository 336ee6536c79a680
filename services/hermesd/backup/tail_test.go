package backup

import (
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func connect(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := natstest.Connect(t)
	if _, err := streams.Ensure(t.Context(), js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	return js
}

// TestTheTailHasWhatChangedMeanwhile: keys that were written, written again and deleted while a
// snapshot was made, and an object whose info was.
func TestTheTailHasWhatChangedMeanwhile(t *testing.T) {
	from, to := connect(t), connect(t)
	secrets := map[jetstream.JetStream]jetstream.KeyValue{}
	objects := map[jetstream.JetStream]jetstream.ObjectStore{}
	for _, js := range []jetstream.JetStream{from, to} {
		var err error
		if secrets[js], err = js.KeyValue(t.Context(), streams.BucketSecrets); err != nil {
			t.Fatal(err)
		}
		if objects[js], err = js.ObjectStore(t.Context(), streams.Blobs); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"stays", "replaced", "deleted"} {
			if _, err := secrets[js].PutString(t.Context(), key, "old"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := objects[js].PutString(t.Context(), "before", "x"); err != nil {
			t.Fatal(err)
		}
	}
	last := func(js jetstream.JetStream, stream string) uint64 {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.LastSeq
	}
	bucket, store := streams.BucketStream(streams.BucketSecrets), streams.BlobsStream(streams.Blobs)
	lastSecret, lastObject := last(from, bucket), last(from, store)
	for _, key := range []string{"replaced", "new"} {
		if _, err := secrets[from].PutString(t.Context(), key, "young"); err != nil {
			t.Fatal(err)
		}
	}
	if err := secrets[from].Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	if _, err := objects[from].PutString(t.Context(), "meanwhile", "whole"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for stream, sequence := range map[string]uint64{bucket: lastSecret, store: lastObject} {
		file := filepath.Join(dir, stream)
		if err := copyTail(t.Context(), from, stream, sequence, file); err != nil {
			t.Fatal(err)
		}
		if err := restoreTail(t.Context(), to, stream, file); err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range map[string]string{"stays": "old", "replaced": "young", "new": "young", "deleted": ""} {
		entry, err := secrets[to].Get(t.Context(), key)
		if want == "" && err == nil || want != "" && (err != nil || string(entry.Value()) != want) {
			t.Errorf("%s: %v, %v; want %q", key, entry, err, want)
		}
	}
	for name, want := range map[string]string{"before": "x", "meanwhile": "whole"} {
		if got, err := objects[to].GetString(t.Context(), name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := restoreTail(t.Context(), to, bucket, filepath.Join(dir, "none")); err != nil {
		t.Errorf("a stream without a tail: %v", err)
	}
}
