package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

const (
	// readyWord begins the line of an instance that is ready; the address of /heap follows.
	readyWord = "ready"
	// readyWithin and stopWithin bound the start and the end of an instance.
	readyWithin, stopWithin = 5 * time.Minute, 2 * time.Minute
)

// running is an instance, and who looks at it.
type running struct {
	dir string
	// sync is how acknowledged data is brought to disk.
	sync string
	pid  int
	// heapURL answers with a heap.
	heapURL string
	// user is the first user's connection, operator the operator's.
	user     *api.Client
	operator jetstream.JetStream
	// ready is how long it took to say so, answered until the user had the newest page.
	ready, answered time.Duration
	// stop ends it. It may be called again.
	stop func() error
}

// startInstance starts this program as the instance of the folder, and connects.
func startInstance(ctx context.Context, dir, syncEvery string) (_ *running, err error) {
	me, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	in := &running{dir: dir, sync: syncEvery}
	cmd := exec.Command(me, instanceCommand, dir, syncEvery)
	cmd.Env, cmd.Stdout, cmd.Stderr = in.env(), log, log
	// A Ctrl-C of the terminal is ours to hear.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	in.pid, in.stop = cmd.Process.Pid, stopper(cmd)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start the instance: %w%s", err, in.trouble()), in.stop())
		}
	}()
	if err := in.waitReady(ctx, began); err != nil {
		return nil, err
	}
	if err := in.connect(); err != nil {
		return nil, err
	}
	for {
		if _, err = api.Call[api.Executions](ctx, in.user, api.OpExecutionList, api.ExecutionList{}); err == nil {
			in.answered = time.Since(began)
			return in, nil
		}
		if ctx.Err() != nil || time.Since(began) > readyWithin {
			return nil, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stopper returns a stop that ends the process once.
func stopper(cmd *exec.Cmd) func() error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return sync.OnceValue(func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			return err
		case <-time.After(stopWithin):
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("the instance did not end within %s of SIGTERM and was killed", stopWithin)
		}
	})
}

// env is that of all programs that are to find the instance.
func (in *running) env() []string {
	return append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(in.dir, "config"), "HERMES_CONTEXT=")
}

func (in *running) waitReady(ctx context.Context, began time.Time) error {
	for {
		log, err := os.ReadFile(filepath.Join(in.dir, "log"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(log)) {
			if address, ok := strings.CutPrefix(line, readyWord+" "); ok && strings.HasSuffix(line, "\n") {
				in.ready, in.heapURL = time.Since(began), "http://"+strings.TrimSpace(address)+"/heap"
				return nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Since(began) > readyWithin:
			return fmt.Errorf("it was not ready within %s", readyWithin)
		case syscall.Kill(in.pid, 0) != nil:
			return errors.New("it ended")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (in *running) connect() error {
	user, err := in.connectAs(instance.UserContext)
	if err != nil {
		return err
	}
	in.user = api.NewClient(user, userName(0))
	operator, err := in.connectAs(instance.OperatorContext)
	if err != nil {
		return err
	}
	in.operator, err = jetstream.New(operator, jetstream.WithPublishAsyncMaxPending(asyncPending))
	return err
}

func (in *running) connectAs(name string) (*nats.Conn, error) {
	c, err := natsctx.Load(filepath.Join(in.dir, "config"), name)
	if err != nil {
		return nil, err
	}
	options, err := c.Options()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(c.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connect as %s: %w", name, err)
	}
	stop := in.stop
	in.stop = func() error { nc.Close(); return stop() }
	return nc, nil
}

// trouble is the end of what the instance has logged, for errors.
func (in *running) trouble() string {
	raw, _ := os.ReadFile(filepath.Join(in.dir, "log"))
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return "\nthe instance's log ends with\n  " + strings.Join(lines[max(0, len(lines)-5):], "\n  ")
}
