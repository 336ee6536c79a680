package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// warmSandboxes is how many wait when an instance's memory is looked at.
	warmSandboxes = 100
	// warmWithin bounds the time until they do.
	warmWithin = 3 * time.Minute
)

// warmMemory measures an instance in which many sandboxes wait.
func (b *bench) warmMemory(ctx context.Context, _ *instance, _ *sshServer) (err error) {
	n := fmt.Sprint(warmSandboxes)
	in, _, err := b.startInstance(ctx, "hermesd-warm", "--slots", n, "--warm", n)
	if err != nil {
		return err
	}
	// A run that finds no sandbox ready asks for one more: so many are asked for at once.
	clients, err := b.clientsOf(in)
	if err != nil {
		return err
	}
	until := time.Now().Add(warmWithin)
	for time.Now().Before(until) {
		if _, err := b.rate(ctx, len(clients), func(ctx context.Context, i int) (sample, error) {
			return in.run(ctx, clients[i], single)
		}); err != nil {
			return err
		}
		for before := -1; ; {
			processes, err := b.memory(ctx, in)
			if err != nil {
				return err
			}
			waiting := count(processes, "init")
			if waiting >= warmSandboxes {
				b.report.Warm = processes
				return nil
			}
			if waiting <= before {
				break // no more than this were asked for
			}
			before = waiting
		}
	}
	return errors.New("the sandboxes did not get so many")
}

func count(processes []process, command string) int {
	n := 0
	for _, p := range processes {
		if p.Command == command {
			n++
		}
	}
	return n
}
