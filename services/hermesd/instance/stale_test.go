package instance_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// counting is a runtime that knows how many sandboxes there are.
type counting struct {
	*fake.Runtime
	boxes atomic.Int64
}

type countedBox struct {
	sandbox.Sandbox
	once sync.Once
	of   *counting
}

func (c *counting) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	box, err := c.Runtime.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	c.boxes.Add(1)
	return &countedBox{Sandbox: box, of: c}, nil
}

func (b *countedBox) Remove(ctx context.Context) error {
	err := b.Sandbox.Remove(ctx)
	if err == nil {
		b.once.Do(func() { b.of.boxes.Add(-1) })
	}
	return err
}

// wire is a way to a server that can be cut.
type wire struct {
	address string
	mu      sync.Mutex
	isCut   bool
	conns   []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: l.Addr().String()}
	var work sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); w.cut(true); work.Wait() })
	work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil || !w.holds(near, far) {
				_ = near.Close()
				continue
			}
			work.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			work.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
		}
	})
	return w
}

// holds keeps the connections while the wire does, and closes them when it is cut.
func (w *wire) holds(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	w.conns = append(w.conns, conns...)
	return true
}

func (w *wire) cut(is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut = is; is {
		for _, c := range w.conns {
			_ = c.Close()
		}
		w.conns = nil
	}
}

// serveOnce runs the services against the server; stop ends them.
func serveOnce(t *testing.T, p place) (stop func()) {
	t.Helper()
	gate, err := instance.OpenGate(p.keys, p.url, instance.AccountOptions{Registration: api.RegistrationOpen, PasswordCost: cheap}, p.log.logger(t))
	if err != nil || gate == nil {
		t.Fatalf("%v, %v", gate, err)
	}
	conn := p.dial(t, "services", "services", "")
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- instance.Serve(ctx, instance.ServeOptions{Conn: conn, Replicas: 1, Gate: gate, Version: api.Version, Log: p.log.logger(t), Ready: func() { close(ready) }})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		conn.Close()
		gate.Close()
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the services ended before they were ready: %v", err)
	}
	return stop
}

// dial connects as hermesd does.
func (p place) dial(t *testing.T, name, key, inbox string) *nats.Conn {
	t.Helper()
	sign, err := nats.NkeyOptionFromSeed(p.key(key))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := instance.Connect(p.url, name, inbox, p.log.logger(t), sign)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// TestAPoolIsEmptied: what a watcher keeps ready goes as soon as the function is deployed anew, has other limits
// or is deleted, over a cut connection and another leader too.
func TestAPoolIsEmptied(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	p, dir := bare(t, func(conf string) string { return conf })
	stop := serveOnce(t, p)
	line := newWire(t, p.url[len("nats://"):])
	behind := p
	behind.url = "nats://" + line.address
	boxes := &counting{Runtime: fake.New(filepath.Join(dir, "fake"))}
	conn := behind.dial(t, "watcher", "watcher", instance.WatcherInbox("local"))
	w, err := instance.NewWatcher(t.Context(), instance.WatcherOptions{
		Name: "local", Conn: conn, Runtime: boxes, Dir: filepath.Join(dir, "watcher"), Slots: 4, Warm: 8, StopGrace: time.Second, Version: api.Version, Log: p.log.logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	watch, leave := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() { left <- w.Run(watch) }()
	t.Cleanup(func() {
		leave()
		if err := <-left; err != nil {
			t.Error(err)
		}
		conn.Close()
	})
	user, _ := as(t, p, "user", api.InboxPrefix("ana"))
	c, files := api.NewClient(user, "ana"), hello("private")
	deploy(t.Context(), t, c, files)
	keeps := func(when string, n int) {
		t.Helper()
		eventually(t, when, func() bool { return boxes.boxes.Load() == int64(n) && w.Stats().Sandboxes.Waiting == n })
	}
	fill := func() {
		t.Helper()
		if e := runAs(t, c, "hello"); e.Sandbox != "cold" {
			t.Errorf("the first run has a sandbox that is %s", e.Sandbox)
		}
		keeps("one is kept ready", 1)
	}
	drop := func() {
		t.Helper()
		if _, err := api.Call[api.Functions](t.Context(), c, api.OpFunctionDelete, api.FunctionDelete{Name: "hello"}); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	if e := runAs(t, c, "hello"); e.Sandbox != "warm" {
		t.Errorf("the second run has a sandbox that is %s", e.Sandbox)
	}
	keeps("and again", 1)
	files["run.sh"] += "# changed\n"
	deployOver(t.Context(), t, c, files, true)
	keeps("deployed anew", 0)
	fill()
	files["hermes.config.json"] = `{"functionName":"hello","language":"cpp","gpuCapable":false,"functionVersion":"1.0.0","handler":"./run.sh","memory":"64MiB"}`
	deployOver(t.Context(), t, c, files, true)
	keeps("other limits", 0)
	fill()
	drop()
	keeps("deleted", 0)

	for what, change := range map[string]func(){
		"nothing":       func() {},
		"deployed anew": func() { deployOver(t.Context(), t, c, files, true) }, // as it was: it is built already
		"deleted":       drop,
	} {
		deployOver(t.Context(), t, c, files, true)
		fill()
		line.cut(true)
		eventually(t, "the watcher is cut off", func() bool { return !conn.IsConnected() })
		change()
		line.cut(false)
		eventually(t, "the watcher is back", conn.IsConnected)
		if what != "nothing" {
			keeps("over a cut, "+what, 0)
			continue
		}
		eventually(t, "it runs again", func() bool { return runAs(t, c, "hello").Sandbox == "warm" })
		drop()
		keeps("deleted behind a cut", 0)
	}

	deployOver(t.Context(), t, c, files, true)
	fill()
	serveOnce(t, p) // is there to take over
	stop()
	keeps("another leads", 0)
	fill()
	drop()
	keeps("deleted where another leads", 0)
}
