// Command scale measures an instance that has a long history: it makes one without containers in a
// folder of its own, appends the events of as many executions as is asked for, looks at it as a user
// does, and takes all of it away again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	executions, users int
	rounds            int
	rate              int
	seconds           int
	seed              uint64
	dir, out, bin     string
	// only is a part to measure; empty: all of them.
	only string
	// folder, if it is given, is made or used again, and stays.
	folder string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "scale: %v\n", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == instanceCommand {
		return runInstance(ctx, args[1:])
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return run(ctx, o)
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.IntVar(&o.executions, "executions", 1_000_000, "how many executions the history has")
	f.IntVar(&o.users, "users", 1, "how many users they are of; the first one looks at them")
	f.IntVar(&o.rounds, "rounds", 200, "how often each look is taken")
	f.IntVar(&o.rate, "rate", 5_000, "how many events a second are appended while the instance serves")
	f.IntVar(&o.seconds, "seconds", 20, "for how long")
	f.Uint64Var(&o.seed, "seed", 1, "of what is drawn")
	f.StringVar(&o.dir, "dir", "/var/tmp", "where the folder for everything is made; a disk, for what is acknowledged is on it")
	f.StringVar(&o.folder, "folder", "", "a folder that stays: it is filled if it is not there, else its history is looked at again, which must be what is asked for")
	f.StringVar(&o.out, "out", "bin/scale.json", "the file for all figures")
	f.StringVar(&o.bin, "bin", "bin", "the folder of hermesd")
	f.StringVar(&o.only, "only", "", "one part to measure, of "+strings.Join(partNames(), ", ")+"; without it, all of them")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case o.only != "" && !slices.Contains(partNames(), o.only):
		return o, fmt.Errorf("--only %q: there are %s", o.only, strings.Join(partNames(), ", "))
	case f.NArg() > 0:
		return o, fmt.Errorf("%q: only flags are understood", f.Arg(0))
	case o.users < 1 || o.executions < o.users*minPerUser:
		return o, fmt.Errorf("--executions %d --users %d: each user must have at least %d", o.executions, o.users, minPerUser)
	case o.rounds < 1 || o.rate < 1 || o.seconds < 1:
		return o, errors.New("--rounds, --rate and --seconds must be at least 1")
	}
	return o, nil
}

// How acknowledged data is brought to disk: before it is acknowledged, which is the default of hermesd,
// or within a time, which appends the history faster.
const syncAlways, syncLater = "always", "1m"

// minPerUser is how many executions a user must have so that every look finds something.
const minPerUser = 100

// scale is one measurement.
type scale struct {
	options
	// dir is the folder of the instance.
	dir    string
	report report
	events *generator
}

func run(ctx context.Context, o options) (err error) {
	dir := o.folder
	if dir == "" {
		if dir, err = os.MkdirTemp(o.dir, "hermes-scale"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	s := &scale{options: o, dir: dir, events: newGenerator(o, time.Now()), report: newReport(o)}
	err = s.measure(ctx)
	s.report.print(os.Stdout) // what was measured before it failed, too
	return errors.Join(err, s.report.write(o.out))
}

// measure fills the instance, then looks at it after a new start, as it is used.
func (s *scale) measure(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.dir, "data")); err == nil {
		s.events.made = s.executions
	} else if err := s.fill(ctx); err != nil {
		return fmt.Errorf("make the history: %w", err)
	}
	say("start again")
	in, err := startInstance(ctx, s.dir, syncAlways)
	if err != nil {
		return err
	}
	defer in.stop()
	s.report.started(in.ready, in.answered)
	if err := s.report.memory(ctx, "after a new start", in); err != nil {
		return err
	}
	for _, part := range parts {
		if s.only != "" && s.only != part.name {
			continue
		}
		say("measure %s", part.what)
		if err := part.take(s, ctx, in); err != nil {
			return fmt.Errorf("measure %s: %w%s", part.what, err, in.trouble())
		}
	}
	return s.report.memory(ctx, "at the end", in)
}

// parts are what is measured of an instance with its history, in this order.
var parts = []struct {
	name, what string
	take       func(*scale, context.Context, *running) error
}{
	{"looks", "looks", (*scale).looks}, {"live", "the projector", (*scale).live},
	{"rebuilds", "rebuilds", (*scale).rebuilds}, {"lost", "a bucket that was lost", (*scale).lostBucket},
}

func partNames() (names []string) {
	for _, part := range parts {
		names = append(names, part.name)
	}
	return names
}

// fill makes the history. For that acknowledged may be ahead of the disk.
func (s *scale) fill(ctx context.Context) error {
	say("start an instance")
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return err
	}
	in, err := startInstance(ctx, s.dir, syncLater)
	if err != nil {
		return err
	}
	defer in.stop()
	if err := s.report.memory(ctx, "empty", in); err != nil {
		return err
	}
	say("append the events of %d executions", s.executions)
	if err := s.load(ctx, in); err != nil {
		return fmt.Errorf("%w%s", err, in.trouble())
	}
	if err := s.report.memory(ctx, "filled", in); err != nil {
		return err
	}
	s.report.stored(filepath.Join(s.dir, "data"))
	say("measure the projector")
	if err := s.live(ctx, in); err != nil {
		return fmt.Errorf("%w%s", err, in.trouble())
	}
	return in.stop()
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s scale: "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}
