package main

import (
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// TestKeysOfOthersAreRefused: who gives a part the key of another is told so at once, before anything is made.
func TestKeysOfOthersAreRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := instance.WriteNATSFiles(instance.NATSFiles{
		Dir: dir, Listen: "127.0.0.1:4222", StoreDir: filepath.Join(dir, "js"), Sync: "always", Watchers: []string{"gpu1", "gpu2"}, Users: []string{"ana"},
	})
	if err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	opts.Port, opts.NoSigs, opts.NoLog = server.RANDOM_PORT, true, true
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	defer func() { ns.Shutdown(); ns.WaitForShutdown() }()
	key := func(name string) string { return filepath.Join(dir, "keys", name+".nk") }
	for what, c := range map[string]struct {
		key  string
		args []string
		hint string
	}{
		"a watcher with another's": {"watcher-gpu2", []string{"watcher", "--name", "gpu1", "--data-dir", filepath.Join(dir, "data")}, "`hermesd nats-config` writes it to keys/watcher-gpu1.nk"},
		"a watcher with a user's":  {"user-ana", []string{"watcher", "--name", "gpu1", "--data-dir", filepath.Join(dir, "data")}, "`hermesd nats-config` writes it to keys/watcher-gpu1.nk"},
		"serve with a watcher's":   {"watcher-gpu1", []string{"serve"}, "`hermesd nats-config` writes it to keys/services.nk"},
		"serve with a user's":      {"user-ana", []string{"serve"}, "`hermesd nats-config` writes it to keys/services.nk"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := hermesd(t, "", append(c.args, "--nats", ns.ClientURL(), "--creds", key(c.key))...)
			e, known := api.AsError(err)
			if !known || e.Name != api.NotPermitted || e.Hint != c.hint || commandline.ExitCode(err) != commandline.ExitUnauthorized {
				t.Errorf("it is %v", err)
			}
		})
	}
	// A part's own key passes.
	for name, inbox := range map[string]string{"watcher-gpu1": instance.WatcherInbox("gpu1"), "services": ""} {
		o := remoteOptions{url: ns.ClientURL(), creds: key(name)}
		if err := o.checkKey(inbox, name, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
