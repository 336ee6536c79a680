package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/watcher"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
)

// The size of TestAttachThroughFaults: a hundred attaches.
const (
	faultyRuns    = 5
	attachesOfRun = 20
	// printTime is about how long each run prints.
	printTime = 8 * time.Second
)

// TestAttachThroughFaults attaches to runs that print, many times, from any offset, while
// connections of clients, services and the watcher, the services and the NATS server are cut off and
// come back: each attach shows every byte that was printed from its offset on, once and in order, and
// the end. HERMES_SEED repeats what was drawn, though not how threads take turns.
func TestAttachThroughFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 20 s")
	}
	seed := drawnSeed(t)
	f := newFaulty(t)
	f.asContext(t)
	r := rand.New(rand.NewPCG(seed, 0))
	runs := make([]printing, faultyRuns)
	for i := range runs {
		runs[i] = f.run(r, i)
	}
	over, stopped := make(chan struct{}), make(chan struct{})
	go func() { defer close(stopped); f.disturb(r, over) }()
	var work sync.WaitGroup
	shown := make([][]attached, len(runs))
	for i, run := range runs {
		shown[i] = make([]attached, attachesOfRun)
		for n := range attachesOfRun {
			own := rand.New(rand.NewPCG(seed, uint64(1+i*attachesOfRun+n)))
			delay := time.Duration(own.Int64N(int64(printTime)))
			work.Go(func() { time.Sleep(delay); shown[i][n] = f.attach(run, own) })
		}
	}
	work.Wait()
	close(over)
	<-stopped
	for i, run := range runs {
		printed, err := os.ReadFile(run.file)
		if err != nil || len(printed) == 0 {
			t.Fatalf("run %d printed %d bytes, %v", i, len(printed), err)
		}
		if stored := f.printed(run.id); stored != string(printed) {
			t.Errorf("of run %d is stored what it did not print: %d bytes of %d", i, len(stored), len(printed))
		}
		if played := f.hermes("execution", "replay", run.id, "--speed", "max"); played.code != 0 || played.out != string(printed) {
			t.Errorf("the replay of run %d is another output: exit code %d, %d bytes of %d\n%s", i, played.code, len(played.out), len(printed), played.err)
		}
		for n, a := range shown[i] {
			want := string(printed[min(int(a.from), len(printed)):])
			switch {
			case a.err != nil:
				t.Errorf("run %d, attach %d at %s from %d: %v", i, n, a.place, a.from, a.err)
			case a.exec.Status != executions.Success:
				t.Errorf("run %d ended with %s: %s", i, a.exec.Status, a.exec.Message)
			case a.text.String() != want:
				t.Errorf("run %d, attach %d at %s from %d: %d bytes of %d, the first difference at %d", i, n, a.place, a.from, a.text.Len(), len(want),
					newDifference([2]string{}, a.text.Bytes(), []byte(want)).Offset)
			}
		}
		t.Logf("run %d printed %d bytes", i, len(printed))
	}
	t.Logf("%d attaches; cut off were %v", faultyRuns*attachesOfRun, f.cuts)
}

// drawnSeed is what HERMES_SEED says, or a new one; it is told.
func drawnSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text, set := os.LookupEnv("HERMES_SEED"); set {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HERMES_SEED=%d", seed)
	return seed
}

// faulty is an instance in parts, each of which can be cut off.
type faulty struct {
	t      *testing.T
	opts   *server.Options
	server *server.Server
	// stopServices ends the services and waits for them.
	stopServices func()
	client       *api.Client
	// clients, services and watcher are those who connect by way of relays; client is not.
	clients, services, watcher *relays
	// dir has the function, and what its runs have printed.
	dir  string
	cuts map[string]int
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{t: t, dir: t.TempDir(), cuts: map[string]int{}}
	f.opts = &server.Options{Host: natstest.Host(), Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}
	f.startServer()
	t.Cleanup(func() { f.server.Shutdown(); f.server.WaitForShutdown() })
	f.opts.Port = f.server.Addr().(*net.TCPAddr).Port
	target := f.server.Addr().String()
	f.clients, f.services, f.watcher = listenRelays(t, target), listenRelays(t, target), listenRelays(t, target)
	f.startServices()
	t.Cleanup(func() { f.stopServices() })
	f.startWatcher()
	f.client = api.NewClient(f.connect(f.server.ClientURL()), "ana")
	return f
}

func (f *faulty) startServer() {
	s, err := server.NewServer(f.opts)
	if err != nil {
		f.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		f.t.Error("the NATS server does not start")
	}
	f.server = s
}

// quickly makes a connection come back.
func quickly() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0), nats.Timeout(patience),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
}

func (f *faulty) connect(url string) *nats.Conn {
	f.t.Helper()
	nc, err := nats.Connect(url, quickly()...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	return nc
}

func (f *faulty) startServices() {
	nc, err := nats.Connect(f.services.url, quickly()...)
	if err != nil {
		f.t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		err := instance.Serve(ctx, instance.ServeOptions{
			Conn: nc, Replicas: 1, Version: "0.0.1", Log: slog.New(slog.DiscardHandler), Ready: func() { close(ready) },
		})
		if err != nil {
			f.t.Errorf("the services ended: %v", err)
		}
	}()
	select {
	case <-ready:
	case <-ended:
	}
	f.stopServices = func() { cancel(); <-ended; nc.Close() }
}

// script prints its own kind of lines at random rates, for about a time, and keeps them in a folder.
const script = `#!/bin/sh
read seed
awk -v seed=$seed -v seconds=%d 'BEGIN {
	srand(seed); end = systime() + seconds
	while (systime() < end) {
		for (n = int(rand() * 200); n > 0; n--) printf "%%d %%s %%d\n", ++i, seed, rand() * 1000000
		fflush()
		system("sleep " rand() * rand() * 0.2)
	}
}' | tee %s/printed-$seed
`

// oneFolder is every artifact, on the machine's own base.
type oneFolder string

func (o oneFolder) Dir(context.Context, events.Blob) (string, func(), error) {
	return string(o), func() {}, nil
}

func (oneFolder) Stand(context.Context, events.BaseRef) (string, []string, func(), error) {
	return "", nil, nil, errors.New("no image was asked for")
}
func (oneFolder) Progress(events.BaseRef) (done, total int64) { return 0, 0 }

func (oneFolder) Get(context.Context, events.Blob, io.Writer) error { return errors.New("none") }

// brought is the folder of a watcher that uploads what it has, as watchers do.
type brought struct {
	oneFolder
	conn *nats.Conn
}

func (b brought) Put(ctx context.Context, blob events.Blob, r io.Reader) error {
	return api.UploadArtifact(ctx, b.conn, "w", blob, r)
}

func (f *faulty) startWatcher() {
	f.t.Helper()
	dir := f.dir
	folder := oneFolder(filepath.Join(dir, "function"))
	err := os.MkdirAll(string(folder), 0o755)
	if err == nil {
		err = errors.Join(
			os.WriteFile(filepath.Join(string(folder), "print"), fmt.Appendf(nil, script, int(printTime.Seconds()), dir), 0o755),
			os.WriteFile(filepath.Join(string(folder), "echo"), []byte("#!/bin/sh\nexec cat\n"), 0o755),
		)
	}
	nc := f.connect(f.watcher.url)
	js, jsErr := jetstream.New(nc)
	if err := errors.Join(err, jsErr); err != nil {
		f.t.Fatal(err)
	}
	box := fake.New(filepath.Join(dir, "boxes"))
	w, err := watcher.New(watcher.Options{
		Name: "w", Conn: nc, JS: js, Runtime: box, StateDir: filepath.Join(dir, "state"), Blobs: brought{folder, nc}, Artifacts: folder, Bases: folder,
		Machine:  events.Machine{Host: "w", Slots: 2 * faultyRuns, MemoryBytes: 1 << 40, CPUMillis: 64_000, Bases: []string{"host"}, Languages: []string{"cpp"}},
		LeaseTTL: time.Minute, StopGrace: time.Second,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, box.Close(context.Background())); err != nil {
			f.t.Error(err)
		}
	})
	f.register(js, "print")
	f.register(js, "echo")
}

// register registers a function by the name of its handler.
func (f *faulty) register(js jetstream.JetStream, name string) {
	f.t.Helper()
	functions := jslog.New(js, streams.Functions)
	blob := events.Blob{Digest: "sha256:" + fmt.Sprintf("%064d", 0), SizeBytes: 1}
	last := uint64(0)
	for _, d := range []events.Data{
		events.FunctionRegistered{Version: "1.0.0", Base: "host", Build: "B", Bundle: blob, Reuses: "A", Config: events.FunctionConfig{Language: "cpp", Scope: "private", Handler: name}},
		events.FunctionBuilt{Version: "1.0.0", Build: "B", BuiltBy: "A", Artifact: blob},
	} {
		e := events.Event{ID: api.NewID(), Source: "test", Time: time.Now(), Data: d}
		var err error
		if last, err = functions.Append(f.t.Context(), events.FunctionSubject("ana", name), last, e); err != nil {
			f.t.Fatal(err)
		}
	}
}

// printing is a run, and the file that has what it has printed.
type printing struct{ id, file string }

// run starts the n-th run.
func (f *faulty) run(r *rand.Rand, n int) printing {
	f.t.Helper()
	seed := fmt.Sprint(r.IntN(1e6)*100 + n)
	ask := api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "print"}, Input: events.Input{Inline: []byte(seed + "\n")}}
	if _, err := send[api.Accepted](f.t.Context(), f.client, api.OpRun, ask); err != nil {
		f.t.Fatal(err)
	}
	return printing{ask.ID, filepath.Join(f.dir, "printed-"+seed)}
}

// disturb cuts something off every now and then: first each kind once, and last of them the one that
// may take seconds.
func (f *faulty) disturb(r *rand.Rand, over <-chan struct{}) {
	first := []int{0, 4, 5, 9}
	r.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
	first = append(first, 7)
	for begin := time.Now(); ; {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(r.IntN(500)) * time.Millisecond):
		}
		kind := r.IntN(10)
		if len(first) > 0 {
			kind, first = first[0], first[1:]
		}
		switch since := time.Since(begin); {
		case since > printTime+printTime/4: // in the end nothing, so that it ends
			continue
		case since > printTime && kind > 6:
			kind = 0
		}
		pause := time.Duration(r.IntN(300)) * time.Millisecond
		switch kind {
		default:
			f.cuts["clients"]++
			f.clients.cut(func() bool { return r.IntN(2) == 0 })
		case 4:
			f.cuts["the watcher"]++
			f.watcher.cut(func() bool { return true })
		case 5, 6:
			f.cuts["connections of the services"]++
			f.services.cut(func() bool { return true })
		case 7, 8:
			f.cuts["the services"]++
			f.stopServices()
			time.Sleep(pause)
			f.startServices()
		case 9:
			f.cuts["the server"]++
			f.server.Shutdown()
			f.server.WaitForShutdown()
			time.Sleep(pause)
			f.startServer()
		}
	}
}

// attached is what somebody saw.
type attached struct {
	place string
	from  int64
	text  bytes.Buffer
	exec  api.Execution
	err   error
}

// attach is what the command does, through a connection of its own that is cut: from the start, from
// now, or from an offset.
func (f *faulty) attach(run printing, r *rand.Rand) (a attached) {
	id := run.id
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	client := api.NewClient(f.connectRelayed(), "ana")
	defer client.Conn().Close()
	live, err := follow.Subscribe(client, id)
	if err != nil {
		a.err = err
		return a
	}
	defer live.Close()
	switch r.IntN(8) {
	case 0:
		a.place = "start"
	case 1:
		a.place = "now"
	case 2:
		a.place = fmt.Sprintf("-%dms", r.IntN(4000))
	default: // of what is printed by now, which need not be stored yet
		size := int64(0)
		if info, err := os.Stat(run.file); err == nil {
			size = info.Size()
		}
		a.place = fmt.Sprint(r.Int64N(size + 1))
	}
	app := newApp(testApp().streams)
	var at position
	for {
		// A person would start the command again.
		if at, err = app.findPosition(ctx, client, id, a.place); !api.IsKind(err, api.Unavailable) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		a.err = err
		return a
	}
	a.from = at.offset
	next := at.offset
	a.exec, a.err = follow.Follow(ctx, follow.Options{
		Source: follow.Execution{Client: client, Ref: api.ExecutionRef{ID: id}, Live: live},
		Live:   live.Messages, Reconnected: live.Reconnected, FromStart: true, Attempt: at.attempt, From: at.offset,
		Note: func(string, ...any) {},
		Write: func(c api.Chunk) error {
			if c.Offset != next {
				return fmt.Errorf("a chunk at %d follows %d bytes", c.Offset, next)
			}
			next += int64(len(c.Data))
			a.text.Write(c.Data)
			return nil
		},
	})
	return a
}

func (f *faulty) connectRelayed() *nats.Conn {
	for {
		nc, err := nats.Connect(f.clients.url, quickly()...)
		if err == nil {
			return nc
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// printed is what the store has of a run when that has ended.
func (f *faulty) printed(id string) string {
	f.t.Helper()
	var all bytes.Buffer
	e, err := testApp().untilEnd(f.t.Context(), f.client, api.ExecutionRef{ID: id})
	for end := time.Now().Add(patience); err == nil; {
		all.Reset()
		// Who reads it in one go begins again when the server goes away.
		if _, err = readOutput(f.t.Context(), f.client, e, splitOutput(&all, &all)); err == nil {
			return all.String()
		}
		if api.IsKind(err, api.Unavailable) && time.Now().Before(end) {
			err = nil
		}
	}
	f.t.Error(err)
	return ""
}

// relays pass connections on to a server until they are cut.
type relays struct {
	url   string
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func listenRelays(t *testing.T, target string) *relays {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relays{url: "nats://" + listener.Addr().String(), conns: map[net.Conn]bool{}}
	var work sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); work.Wait() })
	work.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { r.relay(from, target) })
		}
	})
	return r
}

func (r *relays) relay(from net.Conn, target string) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.conns[from] = true
	r.mu.Unlock()
	go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
	_, _ = io.Copy(from, to)
	_ = to.Close()
	r.mu.Lock()
	delete(r.conns, from)
	r.mu.Unlock()
}

// cut breaks the connections that are picked.
func (r *relays) cut(picks func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if picks() {
			_ = c.Close()
		}
	}
}
