package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// rebuilds runs the operator's commands on what is right, and on what was damaged, and reads the
// same stream as a plain consumer does, which nothing that folds it can be faster than.
func (s *scale) rebuilds(ctx context.Context, in *running) error {
	events, err := in.count(ctx, streams.Executions)
	if err != nil {
		return err
	}
	if err := in.projected(ctx, events); err != nil {
		return err
	}
	took, err := in.readRaw(ctx, streams.Executions, events)
	if err != nil {
		return err
	}
	s.report.rate("the store alone: reading the log", events, took, 0)
	for _, c := range []struct{ verb, state string }{{"verify", "as it should be"}, {"rebuild", "with damage"}, {"verify", "mended"}} {
		if c.verb == "rebuild" {
			if err := s.damage(ctx, in); err != nil {
				return err
			}
		}
		took, peak, err := s.hermesd(ctx, in, "projection", c.verb)
		if err != nil {
			return err
		}
		s.report.rate(fmt.Sprintf("hermesd projection %s, %s", c.verb, c.state), events, took, peak)
	}
	return nil
}

// readRaw is how long a consumer takes for so many messages, without decoding any.
func (in *running) readRaw(ctx context.Context, stream string, n uint64) (time.Duration, error) {
	began := time.Now()
	c, err := in.operator.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(4096))
	if err != nil {
		return 0, err
	}
	defer messages.Stop()
	for range n {
		if _, err := messages.Next(); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// damage takes some views away, and writes nonsense over others.
func (s *scale) damage(ctx context.Context, in *running) error {
	kv, err := in.operator.KeyValue(ctx, streams.BucketExecutions)
	if err != nil {
		return err
	}
	for n := int64(1); n <= minPerUser; n++ {
		key := executions.ViewKey(userName(0), n)
		if n%2 == 0 {
			err = kv.Delete(ctx, key)
		} else {
			_, err = kv.PutString(ctx, key, "{}")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hermesd runs a command of the operator, and returns how long that took and what it had in memory
// at most, in bytes.
func (s *scale) hermesd(ctx context.Context, in *running, args ...string) (time.Duration, int64, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "hermesd"), args...)
	cmd.Env = in.env()
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		return 0, 0, fmt.Errorf("hermesd %v: %w: %.2000s", args, err, out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0, errors.New("this system does not say what a process had in memory")
	}
	return took, usage.Maxrss << 10, nil
}

// lostBucket takes all views away at once: the projector makes them anew from the log, as it does
// for an instance that had none.
func (s *scale) lostBucket(ctx context.Context, in *running) error {
	events, err := in.count(ctx, streams.Executions)
	if err != nil {
		return err
	}
	bucket, err := in.operator.Stream(ctx, streams.BucketStream(streams.BucketExecutions))
	if err != nil {
		return err
	}
	if err := bucket.Purge(ctx); err != nil {
		return err
	}
	// It goes on with the next event that there is.
	for _, r := range s.events.next() {
		msg, err := r.message()
		if err != nil {
			return err
		}
		if err := appendAsync(in, msg); err != nil {
			return err
		}
	}
	// It notices after a while; then the clock runs.
	if err := errors.Join(appended(ctx, in), in.projected(ctx, 1)); err != nil {
		return err
	}
	began := time.Now()
	first, err := in.checkpoint(ctx)
	if err == nil {
		err = in.projected(ctx, events)
	}
	if err != nil {
		return err
	}
	s.report.rate(rateRebuild, events-first, time.Since(began), 0)
	return nil
}
