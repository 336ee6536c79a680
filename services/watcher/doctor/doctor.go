// Package doctor looks at a machine and says whether it can run functions, and what to do where it
// cannot. It returns data; printing is for the command that asks.
package doctor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hermes-serverless/hermes/services/watcher/cuda"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// Status of one check.
type Status string

const (
	// OK: nothing to do.
	OK Status = "ok"
	// Warn: it works, but slower, less safely, or not all of it.
	Warn Status = "warn"
	// Fail: functions cannot run until it is fixed.
	Fail Status = "fail"
)

// Result is what one check found.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail says what was found, in one line.
	Detail string `json:"detail"`
	// Fix is a command to run, or failing that an instruction; empty when there is nothing to fix.
	Fix string `json:"fix,omitempty"`
}

// Check is one look at the machine.
type Check struct {
	Name string
	// Run never changes the machine, but for a file in the data directory that it removes again.
	Run func(context.Context) Result
}

// Options say where to look. The zero value of a field is the machine's own answer where there is one.
type Options struct {
	// DataDir is where hermesd keeps its data; it may not exist yet.
	DataDir string
	// Address is the operator's containerd; empty when hermesd runs its own.
	Address string
	// Answers says whether containerd serves at an address; nil error: it does. Needed with Address.
	Answers func(ctx context.Context, address string) error
	// Runc and Init are the paths of the programs; empty: not found.
	Runc, Init string
	// Launch is the path of hermes-launch; empty: not found.
	Launch string
	// Launches says why hermes-launch does not come up; nil: it is not tried.
	Launches func(ctx context.Context, path string) error
	// Network is the path of hermes-network; empty: not found. NeedsNetwork makes that, and a
	// machine without TUN devices, a failure.
	Network      string
	NeedsNetwork bool
	// GPUs asks the NVIDIA driver what there is; nil: it is not asked.
	GPUs func() (gpu.Machine, error)
	// CUDA looks for the toolkit that builds find; cuda.Find when nil.
	CUDA func(context.Context) cuda.Toolkit

	// Root is put before every path below /proc, /sys and the like; for tests.
	Root string
	// UserID is the effective user; os.Geteuid when nil.
	UserID func() int
	// LookPath finds a program; exec.LookPath when nil.
	LookPath func(string) (string, error)
	// Version runs a program with --version; it executes it when nil.
	Version func(ctx context.Context, program string) (string, error)
}

const setup = "deployments/setup.sh"

// Checks are all of them, in the order in which their results should be read.
func Checks(opts Options) []Check {
	if opts.UserID == nil {
		opts.UserID = os.Geteuid
	}
	if opts.LookPath == nil {
		opts.LookPath = exec.LookPath
	}
	if opts.Version == nil {
		opts.Version = askVersion
	}
	if opts.CUDA == nil {
		opts.CUDA = cuda.Find
	}
	look := looker{opts}
	return []Check{
		{"root", look.root}, {"kernel", look.kernel}, {"cgroups", look.cgroups},
		{"user namespaces", look.userNamespaces}, {"seccomp", look.seccomp},
		{"containerd", look.containerd}, {"oci runtime", look.ociRuntime}, {"init", look.init}, {"launcher", look.launcher},
		{"disk space", look.diskSpace}, {"disk latency", look.diskLatency},
		{"compilers", look.compilers}, {"base images", look.baseBuilder}, {"network", look.network}, {"gpu", look.gpu}, {"cuda toolkit", look.toolkit},
	}
}

// Run runs all checks.
func Run(ctx context.Context, opts Options) []Result {
	var results []Result
	for _, check := range Checks(opts) {
		result := check.Run(ctx)
		result.Name = check.Name
		results = append(results, result)
	}
	return results
}

// Worst is the worst status among results; OK of none.
func Worst(results []Result) Status {
	worst := OK
	for _, result := range results {
		if result.Status == Fail || result.Status == Warn && worst == OK {
			worst = result.Status
		}
	}
	return worst
}

// looker runs the checks.
type looker struct{ Options }

func ok(detail string) Result          { return Result{Status: OK, Detail: detail} }
func warn(detail, fix string) Result   { return Result{Status: Warn, Detail: detail, Fix: fix} }
func broken(detail, fix string) Result { return Result{Status: Fail, Detail: detail, Fix: fix} }

// read is a file of the machine, trimmed; empty when it cannot be read.
func (l looker) read(path string) string {
	text, _ := os.ReadFile(filepath.Join("/", l.Root, path))
	return strings.TrimSpace(string(text))
}

func (l looker) exists(path string) bool {
	_, err := os.Stat(filepath.Join("/", l.Root, path))
	return err == nil
}

func askVersion(ctx context.Context, program string) (string, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	return string(out), err
}
