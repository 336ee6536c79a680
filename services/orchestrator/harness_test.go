package orchestrator

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const patience = time.Minute

// world is an embedded server with the streams and the projections, and the means to start
// orchestrators and scripted watchers on it.
type world struct {
	t    *testing.T
	url  string
	js   jetstream.JetStream
	nc   *nats.Conn
	opts Options
}

// uploaded is the digest of the only content that the user has uploaded.
const uploaded = "sha256:" + zeros

type oneBlob struct{}

func (oneBlob) IsHolder(_ context.Context, holder, digest string) (bool, error) {
	switch holder {
	case "ana":
		return digest == uploaded, nil
	case blobs.WatcherHolder("w1"):
		return digest == blobOf(theArchive).Digest || digest == collected, nil
	}
	return false, nil
}

func (oneBlob) Keep(_ context.Context, digest string) (bool, error) { return digest == uploaded, nil }

// collected was brought by the watcher w1, and is no longer kept.
var collected = "sha256:" + strings.Repeat("1", 64)

// theArchive is what is stored of results, in parts of a few bytes.
var theArchive = []byte("an archive of more than one part")

func blobOf(content []byte) events.Blob {
	sum := events.NewBlobWriter(io.Discard)
	_, _ = sum.Write(content)
	return sum.Blob()
}

func (oneBlob) Stat(_ context.Context, digest string) (events.Blob, error) {
	if digest != blobOf(theArchive).Digest {
		return events.Blob{}, blobs.ErrNoBlob
	}
	return blobOf(theArchive), nil
}

func (oneBlob) Part(_ context.Context, digest string, after uint64) ([]byte, uint64, error) {
	const part = 10
	if digest != blobOf(theArchive).Digest {
		return nil, 0, blobs.ErrNoBlob
	}
	rest := theArchive[min(after, uint64(len(theArchive))):]
	rest = rest[:min(part, len(rest))]
	return rest, after + uint64(len(rest)), nil
}

type noBundles struct{}

func (noBundles) Manifest(context.Context, events.Blob) (events.FunctionRef, events.FunctionConfig, string, error) {
	return events.FunctionRef{Name: "pi", Version: "1.0.0"}, events.FunctionConfig{Language: "cpp", Handler: "a.out"}, "host", nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, url: natstest.Start(t, t.TempDir(), -1).ClientURL()}
	w.nc, w.js = w.connect()
	if _, err := streams.Ensure(t.Context(), w.js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	l := jslog.New(w.js, streams.Executions)
	fleetLog := jslog.New(w.js, streams.Fleet)
	run, stop := context.WithCancel(context.Background())
	done := make(chan struct{}, 3)
	p := projector.New(projector.Options{JS: w.js, Log: l, Archive: jslog.New(w.js, streams.Archive), Projection: executions.Projection})
	f := projector.New(projector.Options{JS: w.js, Log: fleetLog, Projection: fleet.Projection})
	u := projector.New(projector.Options{JS: w.js, Log: jslog.New(w.js, streams.Users), Projection: users.Projection})
	for _, each := range []*projector.Projector{p, f, u} {
		go func() { _ = each.Run(run); done <- struct{}{} }()
	}
	t.Cleanup(func() { stop(); <-done; <-done; <-done })
	w.opts = Options{
		Executions: l, Functions: jslog.New(w.js, streams.Functions), Fleet: fleetLog, Bases: jslog.New(w.js, streams.Bases), Audit: jslog.New(w.js, streams.Audit), Views: views.New(w.js, l, p, f, u),
		Archive: jslog.NewWhole(w.js, streams.History, streams.Executions), Blobs: oneBlob{}, Bundles: noBundles{}, Policy: policy, Version: "0.0.1",
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	return w
}

func (w *world) connect() (*nats.Conn, jetstream.JetStream) {
	w.t.Helper()
	nc, err := nats.Connect(w.url, nats.Timeout(patience))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	return nc, js
}

// service wires an orchestrator that does nothing yet.
func (w *world) service() *Service {
	w.t.Helper()
	o := w.opts
	o.Conn, o.JS = w.connect()
	var err error
	if o.Runs, err = o.JS.Stream(w.t.Context(), streams.Runs); err != nil {
		w.t.Fatal(err)
	}
	if o.Output, err = o.JS.Stream(w.t.Context(), streams.Output); err != nil {
		w.t.Fatal(err)
	}
	if o.Leases, err = o.JS.KeyValue(w.t.Context(), streams.BucketLeases); err != nil {
		w.t.Fatal(err)
	}
	return New(o)
}

// answer answers users, and leads nobody: what is in the log stays as it is.
func (w *world) answer() {
	w.t.Helper()
	w.later(0)
}

// later is answer by a service to which so much more time has gone by.
func (w *world) later(by time.Duration) {
	w.t.Helper()
	s := w.service()
	s.now = func() time.Time { return time.Now().Add(by) }
	server, err := s.serve()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = server.Stop() })
	if err := s.Conn.Flush(); err != nil { // from here on it is heard
		w.t.Fatal(err)
	}
}

// orchestrate starts an orchestrator; the returned function stops it.
func (w *world) orchestrate() (*Service, func()) {
	w.t.Helper()
	s := w.service()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the orchestrator ended: %v", err)
		}
	}
	w.t.Cleanup(stop)
	return s, stop
}

// eventually polls until the condition holds.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("not within %s: %s", patience, what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// register puts a built function into the log, as the registry would.
func (w *world) register() {
	w.t.Helper()
	subject := events.FunctionSubject("ana", "pi")
	blob := events.Blob{Digest: "sha256:" + zeros, SizeBytes: 1}
	w.append(w.opts.Functions, subject, 0, events.FunctionRegistered{
		Version: "1.0.0", Base: "host", Build: "B", Bundle: blob, Reuses: "A",
		Config: events.FunctionConfig{Language: "cpp", Scope: "public", Handler: "a.out", Env: map[string]string{"LEVEL": "3"}},
	})
	w.append(w.opts.Functions, subject, 1, events.FunctionBuilt{Version: "1.0.0", Build: "B", BuiltBy: "A", Artifact: blob})
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func (w *world) append(l log.Log, subject string, expected uint64, data events.Data) (sequence uint64) {
	w.t.Helper()
	event := events.Event{ID: api.NewID(), Source: "test", Time: time.Now(), Data: data}
	sequence, err := l.Append(w.t.Context(), subject, expected, event)
	if err != nil {
		w.t.Fatal(err)
	}
	return sequence
}

// ask sends a request of the user ana.
func ask[Reply any](w *world, op string, request any) (Reply, error) {
	w.t.Helper()
	return askAs[Reply](w, "ana", op, request)
}

func askAs[Reply any](w *world, user, op string, request any) (Reply, error) {
	w.t.Helper()
	return api.Call[Reply](w.t.Context(), api.NewClient(w.nc, user), op, request)
}

// run requests an execution of the function.
func (w *world) run() string {
	w.t.Helper()
	id := api.NewID()
	w.runAs("ana", id)
	return id
}

func (w *world) runAs(user, id string) {
	w.t.Helper()
	w.eventually("a run is accepted", func() bool {
		_, err := askAs[api.Accepted](w, user, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Owner: "ana", Name: "pi"}})
		if err != nil && !api.IsKind(err, api.Unavailable) {
			w.t.Fatal(err)
		}
		return err == nil
	})
}

// state folds an execution of the user ana from the log.
func (w *world) state(id string) executions.Execution {
	w.t.Helper()
	return w.stateOf("ana", id)
}

func (w *world) stateOf(user, id string) executions.Execution {
	w.t.Helper()
	e, err := (&parts{Options: w.opts}).fold(w.t.Context(), user, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// watch is a scripted watcher.
type watch struct {
	*world
	name, session string
	hellos        uint64
	machine       events.Machine
	requests      chan *nats.Msg
	// held are the attempts that it took and was not refused: one that comes again is dropped.
	held map[api.AttemptRef]bool
	// devices are those that the requests gave.
	devices map[api.AttemptRef][]string
	// told are the notices of what is of no use any more.
	told chan api.Stale
}

func (w *world) watcher(name string, slots int) *watch {
	w.t.Helper()
	watch := &watch{world: w, name: name, session: api.NewID(), requests: make(chan *nats.Msg, 100), held: map[api.AttemptRef]bool{}, devices: map[api.AttemptRef][]string{}, machine: events.Machine{
		Host: name, Slots: slots, MemoryBytes: 1 << 40, Bases: []string{"host"}, Languages: []string{"cpp"},
	}}
	sub, err := w.nc.ChanSubscribe(events.RunsSubject(name), watch.requests)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = sub.Unsubscribe() })
	watch.told = make(chan api.Stale, 100)
	notices, err := w.nc.Subscribe(api.StaleSubject(name), func(m *nats.Msg) {
		var said api.Stale
		if err := json.Unmarshal(m.Data, &said); err != nil {
			w.t.Errorf("a notice: %v", err)
		}
		watch.told <- said
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = notices.Unsubscribe() })
	return watch
}

// tell sends a watcher's request until somebody answers.
func tell[Reply any](w *watch, op string, request any) Reply {
	w.t.Helper()
	raw, err := json.Marshal(request)
	if err != nil {
		w.t.Fatal(err)
	}
	var reply Reply
	w.eventually(op+" is answered", func() bool {
		m, err := api.Request(w.t.Context(), w.nc, api.WatchSubject(w.name, op), raw)
		if err != nil && !api.IsKind(err, api.Unavailable) {
			w.t.Fatal(err)
		}
		return err == nil && json.Unmarshal(m.Data, &reply) == nil
	})
	return reply
}

func (w *watch) hello(holds ...api.AttemptRef) *watch {
	w.t.Helper()
	w.greet(holds...)
	return w
}

// greet says hello and returns what is to be dropped.
func (w *watch) greet(holds ...api.AttemptRef) []api.AttemptRef {
	w.t.Helper()
	return w.greeting(holds...).Drop
}

// greeting says hello and returns the whole answer.
func (w *watch) greeting(holds ...api.AttemptRef) api.HelloReply {
	w.t.Helper()
	w.hellos++
	return tell[api.HelloReply](w, api.OpHello, api.Hello{Session: w.session, Number: w.hellos, Machine: w.machine, Holds: holds})
}

// next takes a run request that was sent to the watcher.
func (w *watch) next() api.RunRequest {
	w.t.Helper()
	for {
		select {
		case m := <-w.requests:
			var request api.RunRequest
			if err := json.Unmarshal(m.Data, &request); err != nil {
				w.t.Fatal(err)
			}
			if w.held[request.AttemptRef] {
				continue
			}
			w.held[request.AttemptRef] = true
			w.devices[request.AttemptRef] = request.Devices
			return request
		case <-time.After(patience):
			w.t.Fatalf("no run request for %s", w.name)
		}
	}
}

func (w *watch) claim(ref api.AttemptRef) api.ClaimReply {
	w.t.Helper()
	reply := tell[api.ClaimReply](w, api.OpClaim, api.Claim{AttemptRef: ref, Session: w.session, Sandbox: "cold", Devices: w.devices[ref]})
	if !reply.Granted {
		delete(w.held, ref)
	}
	return reply
}

// start takes the next request and claims it.
func (w *watch) start() api.AttemptRef {
	w.t.Helper()
	request := w.next()
	if reply := w.claim(request.AttemptRef); !reply.Granted {
		w.t.Fatalf("the claim was refused: %s", reply.Why)
	}
	return request.AttemptRef
}

func (w *watch) report(ref api.AttemptRef, outcome api.Outcome) api.ReportReply {
	w.t.Helper()
	return tell[api.ReportReply](w, api.OpReport, api.Report{AttemptRef: ref, Started: true, Outcome: outcome, Reason: events.ReasonExit})
}
