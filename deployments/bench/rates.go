package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/services/api"
)

// rate is how many runs a second ended with so many clients.
type rate struct {
	Way       string  `json:"way"`
	Clients   int     `json:"clients"`
	PerSecond float64 `json:"perSecond"`
	// Sandboxes counts the runs by the kind of their sandbox, where there is one.
	Sandboxes map[string]int `json:"sandboxes,omitempty"`
}

// rates measures what is sustained with 1 to 8 clients, the ways one after another at each number.
func (b *bench) rates(ctx context.Context, in *instance, ssh *sshServer) error {
	runs, err := b.clientsOf(in)
	if err != nil {
		return err
	}
	for clients := 1; clients <= maxClients; clients *= 2 {
		for _, way := range []struct {
			name string
			once func(context.Context, int) (sample, error)
		}{
			{forkExecName, func(ctx context.Context, _ int) (sample, error) { return b.command(ctx, nil, b.program) }},
			{apiName, func(ctx context.Context, i int) (sample, error) { return in.run(ctx, runs[i], single) }},
			{reuseName, func(ctx context.Context, i int) (sample, error) { return in.run(ctx, runs[i], reusing) }},
			{sshKeptName, func(ctx context.Context, _ int) (sample, error) { return ssh.once(ctx) }},
		} {
			if way.name == sshKeptName && ssh == nil {
				continue
			}
			r, err := b.rate(ctx, clients, way.once)
			if err != nil {
				b.report.skip(fmt.Sprintf("%s with %d clients", way.name, clients), err)
				continue
			}
			r.Way = way.name
			b.report.Rates = append(b.report.Rates, r)
			time.Sleep(hermesSettle)
		}
	}
	return nil
}

// maxClients is the largest number of clients at once.
const maxClients = 8

func (b *bench) clientsOf(in *instance) ([]*api.Client, error) {
	clients := make([]*api.Client, maxClients)
	var err error
	for i := range clients {
		if clients[i], err = in.connect(); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

// rate lets each client run the probe again and again. What runs when the time is over is waited
// for, and counts: so does its time.
func (b *bench) rate(ctx context.Context, clients int, once func(context.Context, int) (sample, error)) (rate, error) {
	group, ctx := errgroup.WithContext(ctx)
	var done atomic.Int64
	var mu sync.Mutex
	r := rate{Clients: clients, Sandboxes: map[string]int{}}
	start := time.Now()
	for i := range clients {
		group.Go(func() error {
			for time.Since(start).Seconds() < b.seconds {
				s, err := once(ctx, i)
				if err != nil {
					return err
				}
				done.Add(1)
				if s.sandbox != "" {
					mu.Lock()
					r.Sandboxes[s.sandbox]++
					mu.Unlock()
				}
			}
			return nil
		})
	}
	err := group.Wait()
	r.PerSecond = float64(done.Load()) / time.Since(start).Seconds()
	return r, err
}
