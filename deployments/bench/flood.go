package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/services/api"
)

// Two users of one instance: one runs the probe now and then, the other floods.
const (
	quietUser, floodUser = "quiet", "flood"
	floodPassword        = "a password of the benchmark"
)

const (
	// floodBlock is how many runs are measured quietly, and then under the flood, before it is quiet again.
	floodBlock = 20
	// floodPause is the time between two runs: a person's, not a load.
	floodPause = 150 * time.Millisecond
	// floodRises is how long a flood gets to rise, floodEnds how long it gets to end.
	floodRises, floodEnds = 2 * time.Second, 30 * time.Second
	// floodPatience is how long a run may take.
	floodPatience = 10 * time.Second
)

// floodedKind is what a flood of one kind did to somebody else's runs.
type floodedKind struct {
	Kind    string    `json:"kind"`
	Quiet   quantiles `json:"quiet"`
	Flooded quantiles `json:"flooded"`
	// P50 and P99 are the ratios, flooded over quiet.
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	// Failed is how many of the runs under the flood did not succeed, Warm how many had a warm sandbox.
	Failed int `json:"failed"`
	Warm   int `json:"warm"`
	// Flood is what the flood says it did, over all blocks.
	Flood map[string]int64 `json:"flood"`
}

// floods measures each kind of flood. Quiet and flooded runs take turns, so that what else the machine
// does is in both.
func (b *bench) floods(ctx context.Context, kinds []string) ([]floodedKind, error) {
	say("start an instance")
	in, _, err := b.startInstance(ctx, "hermesd", "--registration", "open", "--max", "output=1GiB", "--default", "output=1GiB")
	if err != nil {
		return nil, fmt.Errorf("start hermesd: %w", err)
	}
	for _, user := range []string{quietUser, floodUser} {
		if err := in.join(ctx, user); err != nil {
			return nil, err
		}
	}
	quiet, err := in.connectAs(quietUser)
	if err != nil {
		return nil, err
	}
	var all []floodedKind
	for _, kind := range kinds {
		k, err := b.flood(ctx, in, quiet, kind)
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		if err != nil {
			b.report.skip("flood of "+kind, err)
			continue
		}
		all = append(all, k)
	}
	return all, nil
}

// flood measures one kind.
func (b *bench) flood(ctx context.Context, in *instance, quiet *api.Client, kind string) (floodedKind, error) {
	k := floodedKind{Kind: kind, Flood: map[string]int64{}}
	var calm, flooded []time.Duration
	for block := range (b.rounds + floodBlock - 1) / floodBlock {
		say("%s, block %d", kind, block+1)
		// The first runs after a flood warm the function up again.
		if _, _, err := in.block(ctx, quiet, 3); err != nil {
			return k, err
		}
		samples, failed, err := in.block(ctx, quiet, floodBlock)
		if err == nil && failed > 0 {
			err = fmt.Errorf("%d of %d quiet runs failed", failed, floodBlock)
		}
		if err != nil {
			return k, err
		}
		calm = append(calm, totals(samples)...)
		stop, err := in.startFlood(ctx, kind)
		if err != nil {
			return k, err
		}
		samples, failed, err = in.block(ctx, quiet, floodBlock)
		did, stopErr := stop()
		if err := errors.Join(err, stopErr); err != nil {
			return k, err
		}
		flooded = append(flooded, totals(samples)...)
		k.Failed += failed
		for _, s := range samples {
			if s.sandbox == "warm" {
				k.Warm++
			}
		}
		for what, n := range did {
			k.Flood[what] += n
		}
		if err := in.calm(ctx); err != nil {
			return k, err
		}
	}
	k.Quiet, k.Flooded = newQuantiles(calm), newQuantiles(flooded)
	k.P50 = float64(k.Flooded.P50Micros) / float64(k.Quiet.P50Micros)
	k.P99 = float64(k.Flooded.P99Micros) / float64(k.Quiet.P99Micros)
	return k, nil
}

// block runs the probe n times. A run that fails counts with the time that it took to fail.
func (in *instance) block(ctx context.Context, client *api.Client, n int) (samples []sample, failed int, err error) {
	for range n {
		within, cancel := context.WithTimeout(ctx, floodPatience)
		start := time.Now()
		s, err := in.run(within, client, single)
		cancel()
		if ctx.Err() != nil {
			return samples, failed, ctx.Err()
		}
		if err != nil {
			say("a run failed: %v", err)
			failed++
			s.total = time.Since(start)
		}
		samples = append(samples, s)
		time.Sleep(floodPause)
	}
	return samples, failed, nil
}

func totals(samples []sample) []time.Duration {
	d := make([]time.Duration, len(samples))
	for i, s := range samples {
		d[i] = s.total
	}
	return d
}

// join makes a user who is logged in and has the probe.
func (in *instance) join(ctx context.Context, user string) error {
	local, err := natsctx.Load(in.bench.path(in.name, "config"), "hermes-local")
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"remote", "add", local.URL, "--name", user}, {"--context", user, "remote", "register", user, "--password-stdin"},
		{"--context", user, "function", "deploy", in.bench.path(single.Name)},
	} {
		cmd := exec.CommandContext(ctx, in.hermes, args...)
		cmd.Env, cmd.Stdin = in.env, strings.NewReader(floodPassword+"\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("hermes %s: %w: %s", strings.Join(args, " "), err, lastLine(out))
		}
	}
	return nil
}

// startFlood floods in a process of its own, as low in priority as can be: on a user's machine it would
// not take this one's processors. stop returns what it did.
func (in *instance) startFlood(ctx context.Context, kind string) (stop func() (map[string]int64, error), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("nice", "-n", "19", self, "flooder", kind, in.bench.path(in.name, "config"))
	cmd.Env, cmd.Stderr = in.env, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(out)
	select {
	case <-time.After(floodRises):
	case <-ctx.Done():
	}
	return func() (map[string]int64, error) {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(floodEnds, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		did := map[string]int64{}
		err := decoder.Decode(&did)
		return did, errors.Join(err, cmd.Wait())
	}, nil
}

// calm returns when nothing of the flood runs or waits any more.
func (in *instance) calm(ctx context.Context) error {
	return waitUntil(ctx, "the end of the flood", func() bool {
		client, err := in.connectAs(floodUser)
		if err != nil {
			return false
		}
		defer client.Conn().Close()
		ended, err := cancelAll(ctx, client)
		return err == nil && ended
	})
}

// connectAs opens a connection with a context of the instance: that of a user who is logged in has the
// user's name.
func (in *instance) connectAs(name string) (*api.Client, error) {
	return dialAs(in.bench.path(in.name, "config"), name)
}

// dialAs opens a connection with a context of this folder.
func dialAs(config, name string) (*api.Client, error) {
	c, err := natsctx.Load(config, name)
	if err != nil {
		return nil, err
	}
	user, err := api.UserOfInbox(c.InboxPrefix)
	if err != nil {
		return nil, err
	}
	options, err := c.Options()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(c.URL, append(options, nats.MaxReconnects(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		return nil, err
	}
	return api.NewClient(nc, user), nil
}

// runFloods is the benchmark of floods.
func runFloods(ctx context.Context, o options, kinds []string) (err error) {
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, kind := range kinds {
		if !slices.Contains(floodKinds, kind) {
			return fmt.Errorf("flood %q: there are %s", kind, strings.Join(floodKinds, ", "))
		}
	}
	if len(kinds) == 0 {
		kinds = floodKinds
	}
	say("build the probe")
	if err := b.build(ctx); err != nil {
		return err
	}
	b.report.Floods, err = b.floods(ctx, kinds)
	if err := errors.Join(err, b.report.write(filepath.Clean(o.out))); err != nil {
		return err
	}
	b.report.printFloods(os.Stdout)
	return ctx.Err()
}
