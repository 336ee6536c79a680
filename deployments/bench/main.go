// Command bench compares Hermes with the other ways of running a program on a machine: the same
// small program, in the same run, one way after another. With the word flood it measures what one user
// can do to another's runs, with the word cost what a run takes of the machine. It brings up an instance and all that it
// compares with in a folder of its own, and takes all of it away again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hermes-serverless/hermes/services/manifest"
)

type options struct {
	rounds  int
	seconds float64
	bulk    int64
	lines   int
	runs    int
	dir     string
	out     string
	bin     string
	probe   string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 100, "how often each way is measured")
	flag.Float64Var(&o.seconds, "seconds", 5, "how long each rate is measured")
	flag.Int64Var(&o.bulk, "bulk", 1<<30, "how many bytes of output are measured")
	flag.IntVar(&o.lines, "lines", 100, "how many lines, one each 50 ms, are followed to the client")
	flag.IntVar(&o.runs, "runs", 500, "how many runs the cost of one is taken from")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "where the folder for everything is made; a disk, for what is acknowledged is on it")
	flag.StringVar(&o.out, "out", "bin/bench.json", "the file for all figures")
	flag.StringVar(&o.bin, "bin", "bin", "the folder of hermes and hermesd")
	flag.StringVar(&o.probe, "probe", "deployments/bench/probe", "the folder of the program that is run")
	words := flags(os.Args[1:])
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := begin(ctx, o, words)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// flags parses the flags, before and behind the words, and returns those.
func flags(args []string) (words []string) {
	for len(args) > 0 {
		_ = flag.CommandLine.Parse(args) // it exits
		if args = flag.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	return words
}

// begin does what the words say: compare with other ways, look at the cost, flood, or be the one who floods.
func begin(ctx context.Context, o options, words []string) error {
	switch {
	case len(words) == 0:
		return run(ctx, o)
	case words[0] == "flood":
		return runFloods(ctx, o, words[1:])
	case words[0] == "cost" && len(words) == 1:
		return runCosts(ctx, o)
	case words[0] == "flooder" && len(words) == 3:
		return runFlooder(ctx, words[1], words[2])
	}
	return fmt.Errorf("%q: there are `cost`, and `flood [KIND…]`, of %s", strings.Join(words, " "), strings.Join(floodKinds, ", "))
}

// bench is what the ways of running a program share.
type bench struct {
	options
	// dir is a folder that every user may pass.
	dir string
	// program is the probe, built.
	program string
	stops   []func() error
	report  report
}

func run(ctx context.Context, o options) (err error) {
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
	output := fmt.Sprintf("output=%d", b.bulk)
	in, took, err := b.startInstance(ctx, "hermesd", "--max", output, "--default", output)
	if err != nil {
		return fmt.Errorf("start hermesd: %w", err)
	}
	b.report.ReadyMillis = took.Milliseconds()
	if b.report.Fresh, err = b.memory(ctx, in); err != nil {
		return err
	}
	ssh := b.measure(ctx, in)
	if err := b.more(ctx, in, ssh); err != nil {
		return err
	}
	b.report.judge()
	if err := b.report.write(o.out); err != nil {
		return err
	}
	b.report.print(os.Stdout)
	return ctx.Err()
}

// measure compares single runs. It returns the server that the longer measurements compare with.
func (b *bench) measure(ctx context.Context, in *instance) *sshServer {
	ways := in.ways()
	var ssh *sshServer
	for _, baseline := range []struct {
		name string
		make func(context.Context) ([]way, error)
	}{
		{"fork+exec", b.forkExec}, {"runc", b.runc}, {"crun", b.crun}, {"bubblewrap", b.bubblewrap},
		{"ssh", func(ctx context.Context) (_ []way, err error) {
			if ssh, err = b.startSSH(ctx); err != nil {
				return nil, err
			}
			return ssh.ways(), nil
		}},
		{"podman", b.podman}, {"srun", b.slurm}, {"hermesd without warm sandboxes", b.cold},
	} {
		say("prepare %s", baseline.name)
		more, err := baseline.make(ctx)
		if err != nil {
			b.report.skip(baseline.name, err)
			continue
		}
		ways = append(ways, more...)
	}
	b.compare(ctx, ways)
	return ssh
}

// more takes the figures that are not of single runs.
func (b *bench) more(ctx context.Context, in *instance, ssh *sshServer) error {
	for _, figure := range []struct {
		what string
		take func(context.Context, *instance, *sshServer) error
	}{
		{"rates", b.rates}, {"lines", b.followLines}, {"bulk", b.bulkOutput}, {"idle memory", b.idleMemory}, {"memory of many warm sandboxes", b.warmMemory},
	} {
		say("measure %s", figure.what)
		if err := figure.take(ctx, in, ssh); err != nil {
			b.report.skip(figure.what, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func newBench(o options) (*bench, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root, as containers do")
	}
	dir, err := os.MkdirTemp(o.dir, "hb")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir}
	b.stops = append(b.stops, func() error { return os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.later(b.removeGroup)
	b.report.begin()
	return b, nil
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

// later has something stopped at the end, in the reverse order.
func (b *bench) later(stop func() error) { b.stops = append(b.stops, stop) }

func (b *bench) close() error {
	var errs []error
	for _, stop := range slices.Backward(b.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// build makes the probe in a copy of its folder, which is the function's, too.
func (b *bench) build(ctx context.Context) error {
	for _, name := range []string{"hermes", "hermesd"} {
		if _, err := exec.LookPath(filepath.Join(b.bin, name)); err != nil {
			return fmt.Errorf("%w: run deployments/build.sh", err)
		}
	}
	if err := os.CopyFS(b.path("probe"), os.DirFS(b.probe)); err != nil {
		return err
	}
	if err := must(ctx, "make", "-C", b.path("probe"), "probe"); err != nil {
		return err
	}
	b.program = b.path("probe", "probe")
	return errors.Join(os.Chmod(b.path("probe"), 0o755), b.copyForReuse())
}

// copyForReuse makes the function that differs from the probe in its name and its sandboxes alone.
func (b *bench) copyForReuse() error {
	if err := os.CopyFS(b.path(reusing.Name), os.DirFS(b.probe)); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(b.probe, manifest.FileName))
	if err != nil {
		return err
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		return err
	}
	m.Name, m.Config.ReuseSandbox = reusing.Name, true
	if raw, err = manifest.Marshal(m); err != nil {
		return err
	}
	return os.WriteFile(b.path(reusing.Name, manifest.FileName), raw, 0o644)
}

// must runs a command that prepares something.
func must(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, lastLine(out))
	}
	return nil
}

// need says by name what is not installed.
func need(programs ...string) error {
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed", program)
		}
	}
	return nil
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s bench: "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}
