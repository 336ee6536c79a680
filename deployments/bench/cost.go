package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/events"
)

// cost is what one run of a kind takes of the machine, on average. It says more than a rate on a machine
// that has something else to do: who waits longer costs no more.
type cost struct {
	Way     string  `json:"way"`
	Runs    int     `json:"runs"`
	Seconds float64 `json:"seconds"`
	// Parts are microseconds of processor time a run, by who took them.
	Parts []partCost `json:"parts"`
	// Stored is how many messages a run adds to each stream.
	Stored map[string]float64 `json:"stored"`
}

type partCost struct {
	Part         string  `json:"part"`
	UserMicros   float64 `json:"userMicros"`
	SystemMicros float64 `json:"systemMicros"`
}

// The parts, in the order in which they are shown.
const (
	hermesdPart    = "hermesd"
	containerdPart = "its containerd"
	launchPart     = "hermes-launch"
	sandboxPart    = "sandboxes, and what runs in them"
	kernelPart     = "kernel's threads, of the whole machine"
	clientPart     = "the clients"
)

var costParts = []string{hermesdPart, containerdPart, launchPart, sandboxPart, kernelPart, clientPart}

// costClients is how many clients run the probe at once: more than there are slots.
const costClients = 8

// runCosts measures what a run costs, with a sandbox for each and with one for runs that follow one
// another.
func runCosts(ctx context.Context, o options) (err error) {
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	say("build the probe")
	if err := b.build(ctx); err != nil {
		return err
	}
	say("start an instance")
	in, _, err := b.startInstance(ctx, "hermesd")
	if err != nil {
		return fmt.Errorf("start hermesd: %w", err)
	}
	for _, way := range []struct {
		name     string
		function events.FunctionRef
	}{{apiName, single}, {reuseName, reusing}} {
		say("measure %s", way.name)
		c, err := b.cost(ctx, in, way.function)
		if err != nil {
			return err
		}
		c.Way = way.name
		b.report.Costs = append(b.report.Costs, c)
	}
	if err := b.report.write(filepath.Clean(o.out)); err != nil {
		return err
	}
	b.report.printCosts(os.Stdout)
	return ctx.Err()
}

// cost measures runs of one function. What follows a run belongs to it: it begins and ends at rest.
func (b *bench) cost(ctx context.Context, in *instance, function events.FunctionRef) (cost, error) {
	clients, err := b.clientsOf(in)
	if err != nil {
		return cost{}, err
	}
	streams, err := in.streams()
	if err != nil {
		return cost{}, err
	}
	load := func(runs int) error {
		var begun atomic.Int64
		group, ctx := errgroup.WithContext(ctx)
		for _, client := range clients[:costClients] {
			group.Go(func() error {
				for begun.Add(1) <= int64(runs) {
					if _, err := in.run(ctx, client, function); err != nil {
						return err
					}
				}
				return nil
			})
		}
		err := group.Wait()
		time.Sleep(costSettle)
		return err
	}
	if err := load(b.runs/10 + costClients); err != nil { // so that the pool knows what to expect
		return cost{}, err
	}
	stored, err := lastOf(ctx, streams)
	if err != nil {
		return cost{}, err
	}
	c := cost{Runs: b.runs, Stored: map[string]float64{}}
	before, start := in.used(), time.Now()
	if err := load(b.runs); err != nil {
		return cost{}, err
	}
	c.Seconds = (time.Since(start) - costSettle).Seconds()
	after := in.used()
	for _, part := range costParts {
		spent := after[part].less(before[part])
		c.Parts = append(c.Parts, partCost{part, perRun(spent.user, b.runs), perRun(spent.system, b.runs)})
	}
	now, err := lastOf(ctx, streams)
	for name, last := range now {
		if more := last - stored[name]; more > 0 {
			c.Stored[name] = float64(more) / float64(b.runs)
		}
	}
	return c, err
}

// costSettle lets the last sandboxes be removed and others be made ahead.
const costSettle = 2 * time.Second

func perRun(spent time.Duration, runs int) float64 {
	return float64(spent.Microseconds()) / float64(runs)
}

// streams are the instance's, as its operator sees them.
func (in *instance) streams() (jetstream.JetStream, error) {
	c, err := natsctx.Load(in.bench.path(in.name, "config"), "hermes-operator")
	if err != nil {
		return nil, err
	}
	options, err := c.Options()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(c.URL, options...)
	if err != nil {
		return nil, err
	}
	in.bench.later(func() error { nc.Close(); return nil })
	return jetstream.New(nc)
}

// lastOf is the last sequence of each stream.
func lastOf(ctx context.Context, streams jetstream.JetStream) (map[string]uint64, error) {
	last := map[string]uint64{}
	list := streams.ListStreams(ctx)
	for s := range list.Info() {
		last[s.Config.Name] = s.State.LastSeq
	}
	return last, list.Err()
}

// printCosts shows what a run costs.
func (r *report) printCosts(w io.Writer) {
	fmt.Fprintf(w, "%s, load average %.1f\n", r.Machine, r.LoadAverage)
	header := []any{"processor time a run"}
	for _, c := range r.Costs {
		header = append(header, c.Way, "of it user", "system")
	}
	t := newTable(w, header...)
	row := func(what string, part func(cost) partCost) {
		cells := table.Row{what}
		for _, c := range r.Costs {
			p := part(c)
			cells = append(cells, ms(int64(p.UserMicros+p.SystemMicros)), ms(int64(p.UserMicros)), ms(int64(p.SystemMicros)))
		}
		t.AppendRow(cells)
	}
	for i, part := range costParts {
		row(part, func(c cost) partCost { return c.Parts[i] })
	}
	row("all of it", cost.sum)
	t.Render()
	for _, c := range r.Costs {
		fmt.Fprintf(w, "%s: %d runs, %.0f/s with %d clients; messages stored a run:", c.Way, c.Runs, float64(c.Runs)/c.Seconds, costClients)
		for _, name := range slices.Sorted(maps.Keys(c.Stored)) {
			fmt.Fprintf(w, " %s %.1f", name, c.Stored[name])
		}
		fmt.Fprintln(w)
	}
}

func (c cost) sum() (all partCost) {
	for _, p := range c.Parts {
		all.UserMicros += p.UserMicros
		all.SystemMicros += p.SystemMicros
	}
	return all
}
