package instance_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
)

// TestOutputGoesWhenToldOnly: a shorter time is no slip of the pen, and no time is the one before.
func TestOutputGoesWhenToldOnly(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir := t.TempDir()
	startKeeping := func(keep instance.Keep) error {
		t.Helper()
		data, err := instance.OpenDataDir(filepath.Join(dir, "data"))
		if err != nil {
			t.Fatal(err)
		}
		in, err := instance.Start(t.Context(), instance.Options{
			Data: data, Listen: "127.0.0.1:0", Sync: "1m", Slots: 1, Runtime: fake.New(filepath.Join(dir, "fake")),
			User: "ana", Version: api.Version, Log: slog.New(slog.DiscardHandler), Keep: keep,
		})
		if err != nil {
			return err
		}
		return in.Stop()
	}
	for _, c := range []struct {
		keep instance.Keep
		want string
	}{
		{instance.Keep{Output: 14 * 24 * time.Hour, OutputBytes: 1 << 30}, ""},
		{instance.Keep{}, ""},
		{instance.Keep{Output: 24 * time.Hour}, "maximum age 336h0m0s → 24h0m0s: --let-output-go lets it go"},
		{instance.Keep{OutputBytes: 64 << 20}, "maximum bytes 1073741824 → 67108864: --let-output-go lets it go"},
		{instance.Keep{Output: 24 * time.Hour, LetOutputGo: true}, ""},
		{instance.Keep{Output: 24 * time.Hour}, ""},
	} {
		if err := startKeeping(c.keep); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.keep, err, c.want)
		}
	}
}
