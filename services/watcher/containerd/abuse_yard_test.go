package containerd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs/blobstest"
	"github.com/hermes-serverless/hermes/services/bundle"
	"github.com/hermes-serverless/hermes/services/watcher"
)

const (
	yardName  = "yard"
	yardOwner = "mallory"
	// yardPatience bounds everything that must happen soon.
	yardPatience = 60 * time.Second
	// yardBuildBytes is the size of a build's folder.
	yardBuildBytes = 32 << 20
)

// yard is where abuse is tried: a watcher on real containers, asked by an orchestrator that grants
// everything.
type yard struct {
	t       testing.TB
	nc      *nats.Conn
	js      jetstream.JetStream
	runtime *Runtime
	state   string
	store   *blobstest.Memory
	mounts  []string

	mu      sync.Mutex
	reports map[string]chan api.Report

	tried, contained atomic.Int64
	neighbours       atomic.Int64
}

func newYard(t *testing.T) *yard {
	t.Helper()
	needContainers(t)
	y := &yard{
		t: t, runtime: newRuntime(t), state: newDir(t), reports: map[string]chan api.Report{},
		store: blobstest.New(),
	}
	y.connect()
	ready := make(chan struct{}, 99)
	y.orchestrate(ready)
	w, err := watcher.New(watcher.Options{
		Name: yardName, Conn: y.nc, JS: y.js, Runtime: y.runtime, StateDir: filepath.Join(y.state, "watcher"),
		Blobs: y.store, Artifacts: y.store, Bases: yardBases{}, Machine: events.Machine{Slots: 4}, Log: slog.New(slog.DiscardHandler),
		StopGrace: 300 * time.Millisecond, BuildBytes: yardBuildBytes,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	y.mounts = mountpoints(t)
	return y
}

func (y *yard) connect() {
	y.js = natstest.Connect(y.t)
	y.nc = y.js.Conn()
	_, err := streams.Ensure(y.t.Context(), y.js, streams.Options{Sync: func(string) error { return nil }})
	y.must(err)
}

func (y *yard) orchestrate(ready chan<- struct{}) {
	yardAnswers(y, api.OpHello, func(api.Hello) any { ready <- struct{}{}; return api.HelloReply{} })
	yardAnswers(y, api.OpClaim, func(api.Claim) any { return api.ClaimReply{Granted: true} })
	yardAnswers(y, api.OpLeave, func(api.Leave) any { return api.LeaveReply{} })
	yardAnswers(y, api.OpReport, func(r api.Report) any {
		y.reportOf(r.ID) <- r
		return api.ReportReply{}
	})
}

func yardAnswers[Ask any](y *yard, op string, answer func(Ask) any) {
	_, err := y.nc.Subscribe(api.WatchSubject(yardName, op), func(m *nats.Msg) {
		var ask Ask
		if err := json.Unmarshal(m.Data, &ask); err != nil {
			y.t.Errorf("%s: %v", op, err)
		}
		raw, _ := json.Marshal(answer(ask))
		_ = m.Respond(raw)
	})
	y.must(err)
}

func (y *yard) must(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) reportOf(id string) chan api.Report {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.reports[id] == nil {
		y.reports[id] = make(chan api.Report, 9)
	}
	return y.reports[id]
}

// yardLimits are narrow: an attack runs into each of them at once.
func yardLimits() events.Limits {
	return events.Limits{TimeoutMillis: 30_000, MemoryBytes: 48 << 20, CPUMillis: 1000, PIDs: 48, TmpBytes: 16 << 20, OutputBytes: 1 << 20}
}

func (y *yard) request(kind events.ExecutionKind, source events.Blob, handler string, args ...string) api.RunRequest {
	return api.RunRequest{
		AttemptRef: api.AttemptRef{Owner: yardOwner, ID: api.NewID(), Attempt: 1},
		Request: events.ExecutionRequested{
			Kind: kind, Function: events.FunctionRef{Owner: yardOwner, Name: "abuse", Version: "1.0.0"},
			Source: source, Base: events.HostBase, Handler: handler, Language: "cpp", Limits: yardLimits(), Args: args,
		},
	}
}

// start sends a request and returns where its report will come.
func (y *yard) start(r api.RunRequest) <-chan api.Report {
	raw, err := json.Marshal(r)
	if err == nil {
		err = y.nc.Publish(events.RunSubject(yardName, r.Owner, r.ID), raw)
	}
	y.must(err)
	return y.reportOf(r.ID)
}

// run runs a request to its end, which must come by itself.
func (y *yard) run(t testing.TB, r api.RunRequest) api.Report {
	t.Helper()
	return yardNext(t, "report", y.start(r))
}

func yardNext[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(yardPatience):
		t.Fatalf("no %s came within %s", what, yardPatience)
		panic("unreachable")
	}
}

// output is what a run has printed on both streams. It must be complete, but for what a limit cut.
func (y *yard) output(t testing.TB, r api.RunRequest) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), yardPatience)
	defer cancel()
	consumer, err := y.js.OrderedConsumer(ctx, streams.Output, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{events.OutputSubject(yardName, r.Owner, r.ID)},
	})
	y.must(err)
	messages, err := consumer.Messages()
	y.must(err)
	defer messages.Stop()
	var text bytes.Buffer
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		y.must(err)
		c, err := api.ParseChunk(&nats.Msg{Header: m.Headers(), Data: m.Data()})
		y.must(err)
		switch {
		case c.Stream == api.End:
			end, err := c.End()
			sum := sha256.Sum256(text.Bytes())
			if err != nil || end.SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("end %+v, %v: the sum is not of the %d bytes read", end, err, text.Len())
			}
			return text.String()
		case c.Offset == int64(text.Len()):
			text.Write(c.Data)
		}
	}
}

// beside runs f while a well-behaved function runs next to it, which must not notice.
func (y *yard) beside(t testing.TB, tool events.Blob, f func()) {
	t.Helper()
	stop := fmt.Sprintf("stop-%d", y.neighbours.Add(1))
	r := y.request(events.KindRun, tool, "abuse", "neighbour", "0", stop)
	r.Owner = "neighbour"
	up := make(chan struct{}, 99)
	sub, err := y.nc.Subscribe(events.OutputSubject(yardName, r.Owner, r.ID), func(*nats.Msg) { up <- struct{}{} })
	y.must(err)
	defer func() { _ = sub.Unsubscribe() }()
	end := y.start(r)
	yardNext(t, "word of the neighbour", up)
	f()
	y.must(os.WriteFile(filepath.Join(y.dirOf(tool), stop), nil, 0o644))
	report := yardNext(t, "report of the neighbour", end)
	if text := y.output(t, r); report.Outcome != api.Succeeded || text != "up\nwell\n" {
		t.Errorf("the neighbour ended with %+v and printed %q", report, text)
	}
}

// checkGone waits until no sandbox is left on the machine, nor anything of one.
func (y *yard) checkGone(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(yardPatience)
	for {
		left := y.left(t)
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("left behind: %s", left)
		}
	}
}

func (y *yard) left(t testing.TB) string {
	ctx, cancel := context.WithTimeout(context.Background(), yardPatience)
	defer cancel()
	ids, err := y.runtime.leftovers(ctx)
	y.must(err)
	y.runtime.ids.mu.Lock()
	ranges := len(y.runtime.ids.locks)*rangesPerBlock - len(y.runtime.ids.free)
	blocks := slices.Clone(y.runtime.ids.locks)
	y.runtime.ids.mu.Unlock()
	scratch, err := os.ReadDir(filepath.Join(y.state, "watcher", "scratch"))
	y.must(err)
	switch users := processesOf(blocks); {
	case len(ids) > 0:
		return fmt.Sprintf("containers, cgroups or folders %v", ids)
	case len(users) > 0:
		return fmt.Sprintf("processes %v", users)
	case ranges > 0:
		return fmt.Sprintf("%d id ranges", ranges)
	case len(scratch) > 0:
		return fmt.Sprintf("files %v", scratch)
	}
	if now := mountpoints(t.(*testing.T)); !slices.Equal(now, y.mounts) {
		return fmt.Sprintf("mounts %v", now)
	}
	return ""
}

// processesOf finds the processes of the sandboxes whose ids lie in these blocks.
func processesOf(blocks []*os.File) []string {
	const perBlock = rangesPerBlock * idsPerRange
	var found []string
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		var stat syscall.Stat_t
		if syscall.Stat(folder, &stat) != nil || stat.Uid < firstHostID {
			continue
		}
		block := fmt.Sprintf("block-%02d", (stat.Uid-firstHostID)/perBlock)
		if slices.ContainsFunc(blocks, func(f *os.File) bool { return filepath.Base(f.Name()) == block }) {
			found = append(found, filepath.Base(folder))
		}
	}
	return found
}

// try counts an attack, and counts it as contained when f finds nothing wrong.
func (y *yard) try(t *testing.T, name string, f func(t *testing.T)) {
	y.tried.Add(1)
	if t.Run(name, f) {
		y.contained.Add(1)
	}
}

func (y *yard) conclude(t *testing.T) {
	t.Helper()
	Report(t, fmt.Sprintf("abuse: tried %d, contained %d", y.tried.Load(), y.contained.Load()))
	if y.tried.Load() != y.contained.Load() {
		t.Error("not everything was contained")
	}
}

// yardBases are none: everything here runs on the host's own.
type yardBases struct{ watcher.Bases }

// dirOf is the folder of an artifact.
func (y *yard) dirOf(artifact events.Blob) string {
	dir, _, err := y.store.Dir(y.t.Context(), artifact)
	y.must(err)
	return dir
}

// unpacked lays an artifact into a folder that sandboxes can be given.
func (y *yard) unpacked(artifact events.Blob) (dir string) {
	var archive bytes.Buffer
	y.must(y.store.Get(y.t.Context(), artifact, &archive))
	dir = newDir(y.t)
	root, err := os.OpenRoot(dir)
	y.must(err)
	defer root.Close()
	y.must(bundle.Extract(y.t.Context(), &archive, root, bundle.Limits{}))
	return dir
}

// tool builds the program of the attacks, in a sandbox as everything else.
func (y *yard) tool(t *testing.T) events.Blob {
	t.Helper()
	r := y.request(events.KindBuild, y.store.BundleOf(t, "testdata/abuse"), "abuse")
	r.Request.Limits.MemoryBytes = 256 << 20
	report := y.run(t, r)
	if report.Outcome != api.Succeeded {
		t.Fatalf("the attacks cannot be built: %+v\n%s", report, y.output(t, r))
	}
	return y.store.Folder(y.unpacked(*report.Artifact))
}

// wanted is how an attack must end.
type wanted struct {
	outcome api.Outcome
	reason  string
	// code of 0 is any that fits the outcome.
	code    int
	signal  string
	message string // a part of it
}

func (w wanted) check(t testing.TB, r api.Report) {
	t.Helper()
	if r.Outcome != w.outcome || r.Reason != w.reason || w.code != 0 && r.ExitCode != w.code ||
		w.signal != "" && r.Signal != w.signal || !strings.Contains(r.Message, w.message) {
		t.Errorf("ended with %s, reason %q, code %s, signal %q, message %q\nwant      %+v",
			r.Outcome, r.Reason, strconv.Itoa(r.ExitCode), r.Signal, r.Message, w)
	}
}
