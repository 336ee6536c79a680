package instance_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// TestWhatAWatcherIsAllowed freezes what the configuration lets a watcher say and hear, and what it imports:
// who adds to it sees it in a review.
func TestWhatAWatcherIsAllowed(t *testing.T) {
	dir := t.TempDir()
	_, err := instance.WriteNATSFiles(instance.NATSFiles{
		Dir: dir, Listen: "127.0.0.1:4222", StoreDir: filepath.Join(dir, "jetstream"), Sync: "1m", Watchers: []string{"gpu1", "gpu2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(opts.Nkeys, func(u *server.NkeyUser) bool { return u.Account.Name == "WATCHER_gpu1" })
	if at < 0 {
		t.Fatal("the watcher has no key")
	}
	may := opts.Nkeys[at].Permissions
	for what, c := range map[string]struct {
		got  []string
		want [][2]string // a subject, and what it is needed for
	}{
		"publish on": {may.Publish.Allow, [][2]string{
			{"hermes.watch.gpu1.>", "to ask the services: for claims, reports, hellos, content that is placed on it, uploads of what it makes"},
			{"hermes.output.gpu1.*.*", "output, and readings of GPUs, of whoever's run it was given: readers believe the watcher that was"},
			{"HERMES.API.$KV.hermes_leases.watcher.gpu1", "to renew its lease"},
			{"HERMES.API.DIRECT.GET.KV_hermes_leases.$KV.hermes_leases.watcher.gpu1", "to read its lease: its own session's, or another's under its name"},
		}},
		"subscribe to": {may.Subscribe.Allow, [][2]string{
			{"_INBOX_watcher_gpu1.>", "answers to what it asks"},
			{"hermes.run.gpu1.>", "run requests"},
			{"hermes.cancel.gpu1", "to be told to end an attempt"},
			{"hermes.input.gpu1", "input of interactive attempts"},
			{"hermes.stale.gpu1", "to be told what of that which it was given has changed"},
		}},
	} {
		var want []string
		for _, subject := range c.want {
			want = append(want, subject[0])
		}
		if !slices.Equal(c.got, want) {
			t.Errorf("it may %s %q, want %q", what, c.got, want)
		}
	}
	if r := may.Response; r == nil || r.MaxMsgs != server.DEFAULT_ALLOW_RESPONSE_MAX_MSGS { // to cancels and input
		t.Errorf("it may respond %+v", r)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "nats.conf"))
	for what, subject := range map[string]string{"the object store": "hermes_blobs", "functions' events": "hermes.function", "what a stream is": "STREAM.INFO"} {
		if err != nil || strings.Contains(string(raw), subject) {
			t.Errorf("the configuration gives somebody %s: %v", what, err)
		}
	}
}
