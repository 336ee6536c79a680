package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"
)

// way is a way of running the probe.
type way struct {
	name string
	once func(context.Context) (sample, error)
	// settle is how long it goes on working after its end: removing, refilling. It is waited for,
	// so that what comes next does not pay for it.
	settle time.Duration
}

// sample is one run, as its caller saw it.
type sample struct {
	// first is until the first byte was there, total until the end was known.
	first, total time.Duration
	// sandbox is "warm", "cold" or "reused" where Hermes says so, handler how long the program ran in it.
	sandbox string
	handler time.Duration
}

// printed is what the probe prints without input.
const printed = "ok\n"

// compare measures all ways, in another order in each round. One that fails is left out from then on.
func (b *bench) compare(ctx context.Context, ways []way) {
	for round := range b.rounds + 1 { // the first is not measured
		rand.Shuffle(len(ways), func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
		for i := 0; i < len(ways) && ctx.Err() == nil; i++ {
			s, err := ways[i].once(ctx)
			if err != nil {
				b.report.skip(ways[i].name, err)
				ways = append(ways[:i], ways[i+1:]...)
				i--
				continue
			}
			if round > 0 {
				b.report.add(ways[i].name, s)
			}
			time.Sleep(ways[i].settle)
		}
		if round > 0 && round%10 == 0 {
			say("round %d of %d", round, b.rounds)
		}
	}
}

// command runs a command that runs the probe.
func (b *bench) command(ctx context.Context, env []string, name string, args ...string) (sample, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	var s sample
	var out bytes.Buffer
	total, err := b.read(cmd, func(r io.Reader, start time.Time) error {
		var one [64]byte
		n, err := r.Read(one[:])
		s.first = time.Since(start)
		out.Write(one[:n])
		if err == nil {
			_, err = io.Copy(&out, r)
		}
		return err
	})
	s.total = total
	if err == nil && out.String() != printed {
		err = fmt.Errorf("%s printed %q", name, out.String())
	}
	return s, err
}

// read starts a command, lets its stdout be read and waits for it. It returns the time from the
// start to the end; its error tells what was said on stderr.
func (b *bench) read(cmd *exec.Cmd, read func(r io.Reader, start time.Time) error) (time.Duration, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	stderr, err := os.CreateTemp(b.dir, "stderr")
	if err != nil {
		return 0, errors.Join(err, w.Close())
	}
	defer func() { _ = stderr.Close(); _ = os.Remove(stderr.Name()) }()
	cmd.Stdout, cmd.Stderr = w, stderr
	start := time.Now()
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return 0, err
	}
	readErr := read(r, start)
	err = cmd.Wait()
	total := time.Since(start)
	switch {
	case err != nil:
		said, _ := os.ReadFile(stderr.Name())
		return total, fmt.Errorf("%s: %w: %s", cmd.Args[0], err, lastLine(said))
	case readErr != nil && readErr != io.EOF:
		return total, readErr
	}
	return total, nil
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}
