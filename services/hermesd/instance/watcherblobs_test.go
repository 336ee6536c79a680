package instance_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// fetch reads content as a watcher does.
func fetch(ctx context.Context, nc *nats.Conn, watcher string, blob events.Blob) (got []byte, err error) {
	var content bytes.Buffer
	err = blobs.NewRemote(func(ctx context.Context, digest string, after uint64) ([]byte, uint64, error) {
		return api.ReadBlob(ctx, nc, watcher, digest, after)
	}).Get(ctx, blob, &content)
	return content.Bytes(), err
}

// secret uploads content of a user's of more than one part. As the input of a run it makes that last.
func secret(t *testing.T, c *api.Client, name string) ([]byte, events.Blob) {
	t.Helper()
	content := []byte("sleep 60 # " + strings.Repeat(name+"'s secret ", 100_000) + "\n")
	sum := events.NewBlobWriter(io.Discard)
	if _, err := sum.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := c.Upload(t.Context(), sum.Blob(), bytes.NewReader(content), nil); err != nil {
		t.Fatal(err)
	}
	return content, sum.Blob()
}

// runs starts a run with an input, and returns its id when it runs.
func runs(t *testing.T, c *api.Client, input events.Blob) string {
	t.Helper()
	id := api.NewID()
	if _, err := api.Call[api.Accepted](t.Context(), c, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Blob: &input}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs", func() bool {
		e, err := api.Call[api.Execution](t.Context(), c, api.OpExecutionInspect, api.ExecutionRef{ID: id})
		return err == nil && e.Status == executions.Running
	})
	return id
}

// checkWatcherReads: a watcher has the content of what runs on it, while it does, and nobody else's.
func checkWatcherReads(t *testing.T, p place) {
	ctx := t.Context()
	wes := registered(t, p, "wes").connect(t, p, "wes")
	watcher, _ := as(t, p, "watcher", instance.WatcherInbox("local"))
	refused := func(what string, blob events.Blob) {
		t.Helper()
		got, err := fetch(ctx, watcher, "local", blob)
		probe(t, what, api.IsKind(err, api.Unauthorized) && len(got) == 0, fmt.Sprintf("%d bytes, %v", len(got), err))
		_, err = api.StatBlob(ctx, watcher, "local", blob.Digest)
		probe(t, what+": its size", api.IsKind(err, api.Unauthorized), err)
	}
	_, unused := secret(t, wes.Client, "wes, who forgot it,")
	refused("a watcher reads what nobody has placed", unused)
	refused("a watcher guesses", events.Blob{Digest: "sha256:" + strings.Repeat("ab", 32), SizeBytes: 1})
	deploy(ctx, t, wes.Client, hello("private"))
	refused("a watcher reads the bundle of a build that has ended", bundleOf(t, wes.Client))

	content, input := secret(t, wes.Client, "wes")
	refused("a watcher reads an input before it is placed", input)
	id := runs(t, wes.Client, input)
	if got, err := fetch(ctx, watcher, "local", input); err != nil || !bytes.Equal(got, content) {
		t.Errorf("what runs there: %d bytes, %v", len(got), err)
	}
	refused("a watcher reads beside what runs there", unused)
	if _, err := api.Call[api.Execution](ctx, wes.Client, api.OpExecutionCancel, api.ExecutionRef{ID: id}); err != nil {
		t.Fatal(err)
	}
	wait(ctx, t, wes.Client, id)
	refused("a watcher reads the input of what has ended", input)
}

// TestWhatKeepsWatchersFromContent: a watcher that may read the object store has everybody's content, and so
// has who may ask in the name of the watcher that it is placed on.
func TestWhatKeepsWatchersFromContent(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Run("the object store", func(t *testing.T) {
		p := externalWith(t, letWatchersRead)
		content, blob := secret(t, registered(t, p, "xia").connect(t, p, "xia").Client, "xia")
		watcher, _ := as(t, p, "watcher", instance.WatcherInbox("local"))
		js, err := jetstream.NewWithAPIPrefix(watcher, streams.WatcherAPI)
		if err != nil {
			t.Fatal(err)
		}
		store, err := blobs.Open(t.Context(), js, streams.Blobs)
		var got bytes.Buffer
		if err == nil {
			err = store.Get(t.Context(), blob, &got)
		}
		weak(t, "a watcher reads what is not placed on it from the store", err == nil && bytes.Equal(got.Bytes(), content), err)
	})
	t.Run("another watcher's name", func(t *testing.T) {
		mallory := newIdentity(t)
		p := externalWith(t, func(conf string) string {
			conf = strings.Replace(conf, "auth_users: [", "auth_users: [ "+mallory.public, 1)
			return strings.Replace(conf, "\n    users: [", "\n    users: [ { nkey: "+mallory.public+" }", 1)
		})
		yan := registered(t, p, "yan").connect(t, p, "yan")
		deploy(t.Context(), t, yan.Client, hello("private"))
		content, input := secret(t, yan.Client, "yan")
		runs(t, yan.Client, input)
		nc, _ := connectAs(t, p, mallory.option(), "_INBOX_mallory")
		got, err := fetch(t.Context(), nc, "local", input)
		weak(t, "to read in the name of the watcher that it is placed on", err == nil && bytes.Equal(got, content), err)
	})
}

// letWatchersRead gives the watchers of a configuration the object store.
func letWatchersRead(conf string) string {
	var exports, imports, allow string
	for _, op := range []string{"STREAM.INFO.OBJ_hermes_blobs", "DIRECT.GET.OBJ_hermes_blobs.>", "DIRECT.GET.OBJ_hermes_blobs"} {
		kind := ""
		if op == "DIRECT.GET.OBJ_hermes_blobs" {
			kind = ", response_type: stream"
		}
		exports += fmt.Sprintf("\n{ service: \"$JS.API.%s\"%s }", op, kind)
		imports += fmt.Sprintf("\n{ service: { account: HERMES, subject: \"$JS.API.%s\" }, to: \"HERMES.API.%s\" }", op, op)
		allow += fmt.Sprintf("\n\"HERMES.API.%s\"", op)
	}
	conf = strings.Replace(conf, `{ service: "hermes.watch.>" }`, `{ service: "hermes.watch.>" }`+exports, 1)
	conf = strings.Replace(conf, `{ service: { account: HERMES, subject: "hermes.watch.local.>" } }`, `{ service: { account: HERMES, subject: "hermes.watch.local.>" } }`+imports, 1)
	return strings.Replace(conf, `"hermes.watch.local.>"`, `"hermes.watch.local.>"`+allow, 1)
}
