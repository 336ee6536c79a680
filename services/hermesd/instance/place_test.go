package instance_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/services/accounts"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
)

// natsServerEnv makes this program be a NATS server with the configuration that it names.
const natsServerEnv = "HERMES_TEST_NATS_SERVER"

func TestMain(m *testing.M) {
	if conf := os.Getenv(natsServerEnv); conf != "" {
		if err := serveNATS(conf); err != nil {
			panic(err)
		}
		return
	}
	leaktest.Main(reporting{m})
}

// serveNATS is what the nats-server program does.
func serveNATS(conf string) error {
	opts, err := server.ConfigureOptions(flag.NewFlagSet("nats-server", flag.ContinueOnError), []string{"-c", conf}, nil, nil, nil)
	if err != nil {
		return err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	if err := server.Run(s); err != nil {
		return err
	}
	s.WaitForShutdown()
	return nil
}

// place is an instance and its keys.
type place struct {
	url, keys, conf string
	// names are what the files of the keys are called here.
	names map[string]string
	// log is what the instance logs, serverLog what a NATS server of its own does.
	log, serverLog *safeLog
}

func (p place) key(name string) string {
	if other := p.names[name]; other != "" {
		name = other
	}
	return filepath.Join(p.keys, name+".nk")
}

func placeOf(dir string, in *instance.Instance) place {
	return place{url: in.URL(), keys: filepath.Join(dir, "data", "keys"), conf: filepath.Join(dir, "data", "nats.conf")}
}

// cheap hashes: what a hash costs is not what is tested.
var cheap = accounts.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}

// embedded is an instance in this process, where everybody may register.
func embedded(t *testing.T) place {
	t.Helper()
	dir, log := t.TempDir(), &safeLog{}
	in := startWith(t, dir, func(o *instance.Options) {
		o.Accounts = instance.AccountOptions{Registration: api.RegistrationOpen, PasswordCost: cheap}
		o.Log = log.logger(t)
	})
	t.Cleanup(func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	})
	p := placeOf(dir, in)
	p.log = log
	return p
}

// external is the same on a NATS server that is a process of its own.
func external(t *testing.T) place { return externalWith(t, asItIs) }

// asItIs changes nothing of a configuration.
func asItIs(conf string) string { return conf }

func externalWith(t *testing.T, change func(conf string) string) place {
	t.Helper()
	p, dir := bare(t, change)
	serveParts(t, p, dir)
	return p
}

// bare is the NATS server alone, and the folder of its configuration.
func bare(t *testing.T, change func(conf string) string) (place, string) {
	t.Helper()
	return bareWith(t, nil, change)
}

// bareWith is bare with a certificate.
func bareWith(t *testing.T, certificate *instance.Certificate, change func(conf string) string) (place, string) {
	t.Helper()
	dir, listen, log := t.TempDir(), freeAddress(t), &safeLog{}
	p := place{
		url: "nats://" + listen, keys: filepath.Join(dir, "keys"), conf: filepath.Join(dir, "nats.conf"),
		names: map[string]string{"user": "user-ana", "watcher": "watcher-local"}, log: log,
	}
	_, err := instance.WriteNATSFiles(instance.NATSFiles{
		Dir: dir, Listen: listen, StoreDir: filepath.Join(dir, "jetstream"), Sync: "1m", Watchers: []string{"local"}, Users: []string{"ana"},
		Certificate: certificate,
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(p.conf)
	if err == nil {
		err = os.WriteFile(p.conf, []byte(change(string(raw))), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.serverLog = startNATSServer(t, p.conf, listen)
	return p, dir
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := natstest.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func startNATSServer(t *testing.T, conf, listen string) *safeLog {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), natsServerEnv+"="+conf)
	out := &safeLog{}
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-ended:
			t.Fatalf("the NATS server has ended: %s", out.text())
		default:
		}
		if c, err := net.Dial("tcp", listen); err == nil {
			_ = c.Close()
			return out
		}
	}
	t.Fatalf("the NATS server did not start: %s", out.text())
	return nil
}

// serveParts runs the services and a watcher against the server.
func serveParts(t *testing.T, p place, dir string) {
	t.Helper()
	serveReplicated(t, p, dir, 1)
}

func serveReplicated(t *testing.T, p place, dir string, replicas int) {
	t.Helper()
	gate, err := instance.OpenGate(p.keys, p.url, instance.AccountOptions{Registration: api.RegistrationOpen, PasswordCost: cheap}, p.log.logger(t))
	if err != nil || gate == nil {
		t.Fatalf("%v, %v", gate, err)
	}
	t.Cleanup(gate.Close)
	serveGated(t, p, dir, replicas, gate)
}

// serveUngated is serveParts without those who let people in.
func serveUngated(t *testing.T, p place, dir string) {
	t.Helper()
	serveGated(t, p, dir, 1, nil)
}

func serveGated(t *testing.T, p place, dir string, replicas int, gate *instance.Gate) {
	t.Helper()
	log := p.log.logger(t)
	connect := func(name, key, inbox string) *nats.Conn {
		sign, err := nats.NkeyOptionFromSeed(p.key(key))
		if err != nil {
			t.Fatal(err)
		}
		nc, err := instance.Connect(p.url, name, inbox, log, sign)
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	services, watcher := connect("services", "services", ""), connect("watcher", "watcher", instance.WatcherInbox("local"))
	ctx, cancel := context.WithCancel(context.Background())
	watch, leave := context.WithCancel(ctx)
	ended, left, ready := make(chan error, 1), make(chan error, 1), make(chan struct{})
	go func() {
		ended <- instance.Serve(ctx, instance.ServeOptions{Conn: services, Replicas: replicas, Gate: gate, Version: api.Version, Log: log, Ready: func() { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the services ended before they were ready: %v", err)
	}
	boxes := filepath.Join(dir, "fake")
	w, err := instance.NewWatcher(ctx, instance.WatcherOptions{
		Name: "local", Conn: watcher, Runtime: fake.New(boxes), Dir: filepath.Join(dir, "watcher"), Slots: 4, StopGrace: time.Second, Version: api.Version, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { left <- w.Run(watch) }()
	t.Cleanup(func() {
		leave() // first: it tells the services that it leaves
		errs := []error{<-left}
		cancel()
		for _, err := range append(errs, <-ended) {
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		services.Close()
		watcher.Close()
	})
}

// safeLog keeps what is logged, to look for what must not be there.
type safeLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *safeLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *safeLog) logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(io.MultiWriter(l, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
