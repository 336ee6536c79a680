package watcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/blobs/blobstest"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

const (
	name  = "m1"
	owner = "ada"
)

// world is a server, an orchestrator that does as it is told, and one watcher.
type world struct {
	t      *testing.T
	dir    string
	server *server.Server
	nc     *nats.Conn // the test's own
	js     jetstream.JetStream
	blobs  *blobstest.Memory
	bases  *fewBases
	conn   *nats.Conn // the watcher's
	box    *runtime
	opts   Options
	// watcher is the last that watch started.
	watcher *Watcher

	hellos, leaves chan string // sessions
	holds          chan []api.AttemptRef
	claims         chan api.Claim
	reports        chan api.Report

	mu    sync.Mutex
	grant func(api.Claim) api.ClaimReply
	subs  []*nats.Subscription
	// leader and notices are what a hello is answered with.
	leader  string
	notices uint64
	// placed are the requests whose claims are not decided.
	placed map[api.AttemptRef]api.RunRequest
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	w := &world{
		t: t, dir: t.TempDir(), bases: &fewBases{roots: map[string]string{}}, blobs: blobstest.New(),
		hellos: make(chan string, 99), leaves: make(chan string, 99), holds: make(chan []api.AttemptRef, 99),
		claims: make(chan api.Claim, 99), reports: make(chan api.Report, 99),
		grant:  func(api.Claim) api.ClaimReply { return api.ClaimReply{Granted: true} },
		placed: map[api.AttemptRef]api.RunRequest{},
	}
	w.serve(-1)
	w.nc = w.connect()
	w.js = w.jetStream(w.nc)
	w.ensure()
	w.orchestrate(true)
	w.conn = w.connect()
	w.box = &runtime{Runtime: fake.New(filepath.Join(w.dir, "runtime"))}
	t.Cleanup(func() { _ = w.box.Close(context.Background()) })
	w.opts = Options{
		Name: name, Conn: w.conn, JS: w.jetStream(w.conn), Runtime: w.box, StateDir: filepath.Join(w.dir, "state"), Blobs: w.blobs, Artifacts: w.blobs, Bases: w.bases,
		Machine: events.Machine{Slots: 4}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Grace: time.Minute, StopGrace: 100 * time.Millisecond,
	}
	for _, c := range change {
		c(&w.opts)
	}
	return w
}

func (w *world) jetStream(nc *nats.Conn) jetstream.JetStream {
	w.t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	return js
}

func (w *world) ensure() {
	w.t.Helper()
	if _, err := streams.Ensure(w.t.Context(), w.js, streams.Options{Sync: func(string) error { return nil }}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) serve(port int) {
	w.t.Helper()
	w.server = natstest.Start(w.t, filepath.Join(w.dir, "nats"), port)
}

// restart ends the server and starts it again on the same port and store.
func (w *world) restart() {
	w.t.Helper()
	port := w.server.Addr().(interface{ String() string }).String()
	w.server.Shutdown()
	w.server.WaitForShutdown()
	var n int
	if _, err := fmt.Sscanf(port[strings.LastIndex(port, ":"):], ":%d", &n); err != nil {
		w.t.Fatal(err)
	}
	w.serve(n)
}

func (w *world) connect() *nats.Conn {
	w.t.Helper()
	nc, err := nats.Connect(w.server.ClientURL(), nats.Timeout(patience), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

// orchestrate lets the orchestrator be there, or not.
func (w *world) orchestrate(present bool) {
	w.t.Helper()
	if !present {
		for _, s := range w.subs {
			if err := s.Unsubscribe(); err != nil {
				w.t.Fatal(err)
			}
		}
		w.subs = nil
		if err := w.nc.Flush(); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	on(w, api.OpHello, func(h api.Hello) any {
		w.sendAgain(h.Holds)
		w.holds <- h.Holds
		w.hellos <- h.Session
		w.mu.Lock()
		defer w.mu.Unlock()
		return api.HelloReply{Leader: w.leader, Notices: w.notices}
	})
	on(w, api.OpClaim, func(c api.Claim) any {
		w.claims <- c
		w.decided(c.AttemptRef)
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.grant(c)
	})
	on(w, api.OpReport, func(r api.Report) any { w.decided(r.AttemptRef); w.reports <- r; return api.ReportReply{} })
	on(w, api.OpLeave, func(l api.Leave) any { w.leaves <- l.Session; return api.LeaveReply{} })
	if err := w.nc.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

func on[Ask any](w *world, op string, answer func(Ask) any) {
	w.t.Helper()
	sub, err := w.nc.Subscribe(api.WatchSubject(name, op), func(m *nats.Msg) {
		var ask Ask
		if err := json.Unmarshal(m.Data, &ask); err != nil {
			w.t.Errorf("%s: %v", op, err)
		}
		raw, _ := json.Marshal(answer(ask))
		_ = m.Respond(raw)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.subs = append(w.subs, sub)
}

func (w *world) granting(f func(api.Claim) api.ClaimReply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.grant = f
}

// watch starts a watcher. stop drains it and returns what Run returned.
func (w *world) watch() (stop func() error) {
	w.t.Helper()
	watcher, err := New(w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.watcher = watcher
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- watcher.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	w.t.Cleanup(func() { _ = stop() })
	return stop
}

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

func next[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s came", what)
		panic("unreachable")
	}
}

// function stores a folder with an executable handler as an artifact.
func (w *world) function(handler string, mode os.FileMode) events.Blob {
	w.t.Helper()
	dir := w.t.TempDir()
	if handler != "" {
		if err := os.WriteFile(filepath.Join(dir, "handler"), []byte("#!/bin/sh\n"+handler+"\n"), mode); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.blobs.Folder(dir)
}

func (w *world) request(artifact events.Blob) api.RunRequest {
	return api.RunRequest{
		AttemptRef: api.AttemptRef{Owner: owner, ID: api.NewID(), Attempt: 1},
		Request: events.ExecutionRequested{
			Kind: events.KindRun, Function: events.FunctionRef{Owner: owner, Name: "f", Version: "1.0.0"},
			Source: artifact, Base: "host", Handler: "handler", Language: "sh",
			Limits: events.Limits{TimeoutMillis: 60_000, MemoryBytes: 1 << 28, CPUMillis: 1000, PIDs: 64, TmpBytes: 1 << 20, OutputBytes: 1 << 20},
		},
	}
}

// place sends the watcher a request, now and when a hello does not name it.
func (w *world) place(r api.RunRequest) {
	w.t.Helper()
	w.mu.Lock()
	w.placed[r.AttemptRef] = r
	w.mu.Unlock()
	w.send(r)
}

func (w *world) send(r api.RunRequest) {
	raw, err := json.Marshal(r)
	if err == nil {
		err = w.nc.Publish(events.RunSubject(name, r.Owner, r.ID), raw)
	}
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) sendAgain(holds []api.AttemptRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ref, r := range w.placed {
		if !slices.Contains(holds, ref) {
			w.send(r)
		}
	}
}

func (w *world) decided(ref api.AttemptRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.placed, ref)
}

// run places a function's execution and returns its report.
func (w *world) run(script string, change ...func(*api.RunRequest)) (api.RunRequest, api.Report) {
	w.t.Helper()
	r := w.request(w.function(script, 0o755))
	for _, c := range change {
		c(&r)
	}
	w.place(r)
	return r, next(w.t, "report", w.reports)
}

// output reads what is stored of an attempt, as a reader does: a chunk only at the offset that it
// expects. It waits for the end message and checks its sum.
func (w *world) output(r api.RunRequest) (stdout, stderr string, end api.OutputEnd) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	consumer, err := w.js.OrderedConsumer(ctx, streams.Output, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{events.OutputSubject(name, r.Owner, r.ID)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	defer messages.Stop()
	var all, out, errs bytes.Buffer
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			w.t.Fatal(err)
		}
		c, err := api.ParseChunk(&nats.Msg{Header: m.Headers(), Data: m.Data()})
		if err != nil {
			w.t.Fatal(err)
		}
		if c.Attempt != r.Attempt || c.Offset != int64(all.Len()) {
			continue
		}
		switch c.Stream {
		case api.Stdout:
			out.Write(c.Data)
		case api.Stderr:
			errs.Write(c.Data)
		case api.End:
			end, err := c.End()
			sum := sha256.Sum256(all.Bytes())
			if err != nil || end.SHA256 != hex.EncodeToString(sum[:]) {
				w.t.Errorf("end %+v, %v: the sum is not of the %d bytes read", end, err, all.Len())
			}
			return out.String(), errs.String(), end
		}
		all.Write(c.Data)
	}
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(until) {
			w.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// reportFiles counts the reports that are on disk.
func (w *world) reportFiles() int {
	files, err := filepath.Glob(filepath.Join(w.opts.StateDir, "reports", "*.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(files)
}

// runtime is the fake runtime, which can be told to fail and counts what is there.
type runtime struct {
	*fake.Runtime
	mu    sync.Mutex
	fail  func() error
	boxes int
	// made are the specs of the sandboxes, and last is the last of these.
	made []sandbox.Spec
	last sandbox.Sandbox
	// immortal commands hear no signal and do not end.
	immortal atomic.Bool
	// renew is what renewing a sandbox fails with.
	renew error
	// reap is what reaping fails with, first to last, before it works.
	reap []error
}

func (r *runtime) Reap(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.reap) > 0 {
		err := r.reap[0]
		r.reap = r.reap[1:]
		return err
	}
	return r.Runtime.Reap(ctx)
}

type countedBox struct {
	sandbox.Sandbox
	runtime *runtime
	once    sync.Once
}

func (r *runtime) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	r.mu.Lock()
	fail := r.fail
	r.mu.Unlock()
	if fail != nil {
		if err := fail(); err != nil {
			return nil, err
		}
	}
	box, err := r.Runtime.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boxes++
	r.made, r.last = append(r.made, spec), box
	return &countedBox{Sandbox: box, runtime: r}, nil
}

func (b *countedBox) Wait(ctx context.Context) (sandbox.Exit, error) {
	if b.runtime.immortal.Load() {
		<-ctx.Done()
		return sandbox.Exit{}, ctx.Err()
	}
	return b.Sandbox.Wait(ctx)
}

func (b *countedBox) Kill(ctx context.Context) error {
	if b.runtime.immortal.Load() {
		return nil
	}
	return b.Sandbox.Kill(ctx)
}

func (b *countedBox) Renew(ctx context.Context) error {
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	return errors.Join(b.runtime.renew, b.Sandbox.Renew(ctx))
}

func (b *countedBox) Remove(ctx context.Context) error {
	err := b.Sandbox.Remove(ctx)
	if err == nil {
		b.once.Do(func() {
			b.runtime.mu.Lock()
			defer b.runtime.mu.Unlock()
			b.runtime.boxes--
		})
	}
	return err
}

func (r *runtime) failRenew(fail bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renew = nil
	if fail {
		r.renew = errors.New("it cannot be cleared")
	}
}

func (r *runtime) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.boxes
}

var _ Artifacts = (*blobs.Cache)(nil)
