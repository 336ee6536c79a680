package instance_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// importBase brings in an image of some megabytes that sets a variable.
func importBase(t *testing.T, p place, name string) {
	t.Helper()
	content := make([]byte, 3<<20) // which no compression makes smaller
	rand.NewChaCha8([32]byte{}).Read(content)
	root, err := os.OpenRoot(t.TempDir())
	if err == nil {
		defer root.Close() //nolint:errcheck // only a handle
		err = root.WriteFile("content", content, 0o444)
	}
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	packed, err := base.Pack(t.Context(), root, base.Manifest{Architecture: runtime.GOARCH, Env: []string{"FROM_IMAGE=yes"}}, &archive)
	if err != nil {
		t.Fatal(err)
	}
	operator, _ := as(t, p, "operator", "")
	js, err := jetstream.New(operator)
	if err != nil {
		t.Fatal(err)
	}
	store, err := blobs.Open(t.Context(), js, streams.Blobs)
	if err == nil {
		_, err = instance.OpenBases(instance.OpenLogs(js), store, slog.New(slog.NewTextHandler(t.Output(), nil))).
			Import(t.Context(), name, events.BaseImported{
				Image: packed.Blob, Architecture: runtime.GOARCH, Files: packed.Files, UnpackedBytes: packed.UnpackedBytes,
			}, bytes.NewReader(archive.Bytes()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAWatcherFetchesABase that it has not, for a build and then for runs.
func TestAWatcherFetchesABase(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir := t.TempDir()
	in := start(t, dir)
	t.Cleanup(func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	})
	importBase(t, placeOf(dir, in), "tiny")
	c := client(t, dir, in)
	deploy(t.Context(), t, c, map[string]string{
		"hermes.config.json": `{"functionName":"hello","language":"cpp","gpuCapable":false,"base":"tiny","functionVersion":"1.0.0","handler":"./run.sh"}`,
		"Makefile":           "all:\n\t@true\nclean:\n\t@true\n", "run.sh": "#!/bin/sh\necho $FROM_IMAGE\n",
	})
	id := api.NewID()
	if _, err := api.Call[api.Accepted](t.Context(), c, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}}); err != nil {
		t.Fatal(err)
	}
	ended := wait(t.Context(), t, c, id)
	_, chunks, err := c.Output(t.Context(), api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}})
	if err != nil || len(chunks) != 1 || string(chunks[0].Data) != "yes\n" {
		t.Errorf("it ended %s (%s %s) and printed %v, %v", ended.Status, ended.Reason, ended.Message, chunks, err)
	}
	unpacked, err := filepath.Glob(filepath.Join(dir, "data", "*", "bases", "*", base.RootFS, "content"))
	if err != nil || len(unpacked) != 1 {
		t.Errorf("what was fetched lies in %v, %v", unpacked, err)
	}
}
