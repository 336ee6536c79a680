package registry

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/bundle"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var _ Views = (*views.Views)(nil)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is an instance with nothing but what the registry needs.
type world struct {
	t                     *testing.T
	conn                  *nats.Conn
	functions, executions *memlog.Log
	bases                 *memlog.Log
	objects               jetstream.ObjectStore
	options               Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := natstest.Start(t, t.TempDir(), -1)
	w := &world{t: t, functions: memlog.New(), executions: memlog.New(), bases: memlog.New(), conn: connect(t, s.ClientURL())}
	js, err := jetstream.New(w.conn)
	must(t, err)
	w.objects, err = js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "blobs"})
	must(t, err)
	store, err := blobs.Open(t.Context(), js, "blobs")
	must(t, err)
	w.options = Options{
		Conn: w.conn, Functions: w.functions, Executions: w.executions, Bases: w.bases, Blobs: store, Views: folding{w.functions},
		Maxima: events.Limits{TimeoutMillis: 60_000}, MaxBundleBytes: 8 << 20, Version: "0.0.1",
	}
	return w
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(url, nats.Timeout(30*time.Second), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	must(t, err)
	t.Cleanup(func() { nc.Close(); <-closed })
	return nc
}

// start runs a registry until the test ends or stop is called.
func (w *world) start() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	s := New(w.options)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	w.eventually("the registry answers", func() bool {
		_, err := api.Call[api.Functions](w.t.Context(), w.client("ana"), api.OpFunctionList, api.FunctionList{})
		return err == nil
	})
	return stop
}

func (w *world) client(user string) *api.Client { return api.NewClient(w.conn, user) }

// eventually asks until it is true, or fails the test after a minute.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	tooLong := time.After(time.Minute)
	for !is() {
		select {
		case <-tick.C:
		case <-tooLong:
			w.t.Fatalf("never came true: %s", what)
		}
	}
}

// folding is views that never lag: they fold the log at each question.
type folding struct{ log log.Log }

func (v folding) ListFunctions(ctx context.Context, owner string) ([]functions.Function, error) {
	if owner == "" {
		owner = "*"
	}
	bySubject := map[string]functions.Function{}
	for record, err := range v.log.Read(ctx, events.FunctionSubject(owner, "*"), 0) {
		var unknown *log.UndecodableError
		if errors.As(err, &unknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if bySubject[record.Subject], err = functions.Fold(bySubject[record.Subject], record); err != nil {
			return nil, err
		}
	}
	var all []functions.Function
	for _, f := range bySubject {
		all = append(all, f)
	}
	return all, nil
}

func (v folding) WaitForFunctions(context.Context, uint64) error { return nil }

const goodConfig = `{"functionName": "pi", "language": "cpp", "gpuCapable": false, "scope": "public", "functionVersion": "1.0.0", "handler": "./a.out"}`

// packed returns the bundle of a folder with this config and a file of this content.
func (w *world) packed(config, content string) (events.Blob, []byte) {
	w.t.Helper()
	dir := w.t.TempDir()
	if config != "" {
		must(w.t, os.WriteFile(filepath.Join(dir, "hermes.config.json"), []byte(config), 0o600))
	}
	must(w.t, os.WriteFile(filepath.Join(dir, "Makefile"), []byte(content), 0o600))
	var b bytes.Buffer
	blob, err := bundle.Pack(w.t.Context(), dir, &b)
	must(w.t, err)
	return blob, b.Bytes()
}

// stored puts the bundle where ana's deploys find it.
func (w *world) stored(config, content string) events.Blob {
	w.t.Helper()
	blob, raw := w.packed(config, content)
	must(w.t, w.options.Blobs.Put(w.t.Context(), blob, bytes.NewReader(raw)))
	must(w.t, w.options.Blobs.AddHolder(w.t.Context(), "ana", blob.Digest))
	return blob
}

func (w *world) deploy(user string, bundle events.Blob, build string, update bool) (api.Deployed, error) {
	return api.Call[api.Deployed](w.t.Context(), w.client(user), api.OpFunctionDeploy,
		api.FunctionDeploy{Bundle: bundle, Build: build, Update: update})
}

func (w *world) inspect(user string, ask api.FunctionInspect) ([]api.Function, error) {
	f, err := api.Call[api.Functions](w.t.Context(), w.client(user), api.OpFunctionInspect, ask)
	return f.Functions, err
}

// types returns the types of what the functions' log holds.
func (w *world) types() string {
	w.t.Helper()
	var all []string
	for record, err := range w.functions.Read(w.t.Context(), "hermes.function.>", 0) {
		must(w.t, err)
		all = append(all, strings.TrimPrefix(string(record.Data.Type()), "io.hermes.function.v1."))
	}
	return strings.Join(all, " ")
}

// execute appends events to an execution's log, as the orchestrator would.
func (w *world) execute(owner, id string, all ...events.Data) {
	w.t.Helper()
	subject := events.ExecutionSubject(owner, id)
	for _, data := range all {
		last, err := w.executions.Head(w.t.Context(), subject)
		must(w.t, err)
		_, err = w.executions.Append(w.t.Context(), subject, last, events.Event{ID: api.NewID(), Source: "test", Time: noon, Data: data})
		must(w.t, err)
	}
}

// buildOf is a build from its request to its start.
func buildOf(name string) []events.Data {
	return []events.Data{
		events.ExecutionRequested{Kind: events.KindBuild, Function: events.FunctionRef{Owner: "ana", Name: name, Version: "1.0.0"}},
		events.ExecutionStarted{Attempt: 1, Watcher: "w"},
	}
}

func succeeded() events.Data {
	artifact := blobNo(1000)
	return events.ExecutionSucceeded{Attempt: 1, Artifact: &artifact}
}

func wantName(t *testing.T, err error, name string) *api.Error {
	t.Helper()
	e, ok := api.AsError(err)
	if !ok || e.Name != name {
		t.Fatalf("got %v, want %s", err, name)
	}
	return e
}

// racing is a log in which somebody else is faster, a number of times.
type racing struct {
	log.Log
	race func() bool
}

func (r racing) Append(ctx context.Context, subject string, expected uint64, e events.Event) (uint64, error) {
	if r.race() {
		return 0, log.ErrConflict
	}
	return r.Log.Append(ctx, subject, expected, e)
}

var errDown = errors.New("the log is down")
