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
	if want := []string{
		"hermes.watch.gpu1.>", "hermes.output.gpu1.*.*", "HERMES.API.$KV.hermes_leases.watcher.gpu1", "HERMES.API.STREAM.INFO.KV_hermes_leases",
		"HERMES.API.DIRECT.GET.KV_hermes_leases.$KV.hermes_leases.watcher.gpu1",
	}; !slices.Equal(may.Publish.Allow, want) {
		t.Errorf("it may publish on %q, want %q", may.Publish.Allow, want)
	}
	if want := []string{"_INBOX_watcher_gpu1.>", "hermes.run.gpu1.>", "hermes.cancel.gpu1", "hermes.input.gpu1", "hermes.function.*.*"}; !slices.Equal(may.Subscribe.Allow, want) {
		t.Errorf("it may subscribe to %q, want %q", may.Subscribe.Allow, want)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "nats.conf"))
	if err != nil || strings.Contains(string(raw), "hermes_blobs") {
		t.Errorf("the configuration gives somebody the object store: %v", err)
	}
}
