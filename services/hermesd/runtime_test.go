package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestARuncInstead: a hermes-launch that ends at once is not what starts containers, and that is said.
func TestARuncInstead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hermes-launch")
	for script, want := range map[string]string{"#!/bin/sh\n": path, "#!/bin/sh\nexit 1\n": ""} {
		if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		said := &strings.Builder{}
		if got := launcher(t.Context(), path, slog.New(slog.NewTextHandler(said, nil))); got != want {
			t.Errorf("%q: %q, want %q", script, got, want)
		}
		if strings.Contains(said.String(), "hermes-launch") != (want == "") {
			t.Errorf("%q: it says %q", script, said)
		}
	}
}
