// Package sandbox is the contract between the watcher and whatever isolates a function: one
// interface that containerd and the fake of the tests both keep, checked by package runtimetest.
package sandbox

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// FunctionDir is where a function's folder appears inside a sandbox, and the working directory of
// everything that runs there. It is the same for a build and a run, so that a path that make baked
// into a binary still holds.
const FunctionDir = "/function"

// ResultsDir is the folder of results inside a sandbox for a run.
const ResultsDir = "/dev/results"

// Kind says what a sandbox is for.
type Kind string

const (
	// Run is a sandbox for a built function: its folder is read-only.
	Run Kind = "run"
	// Build is a sandbox for make: its folder is writable and of limited size.
	Build Kind = "build"
)

// Network says what of the network a sandbox sees.
type Network string

const (
	// NoNetwork is loopback, and no route to anywhere else.
	NoNetwork Network = ""
	// Outbound is loopback, and connections that the sandbox opens to where the runtime allows it.
	// Nothing can connect to the sandbox.
	Outbound Network = "outbound"
)

// Errors that every Runtime returns, wrapped with what was asked.
var (
	// ErrUnavailable: the runtime does not answer (containerd is down); the call may be repeated.
	ErrUnavailable = errors.New("container runtime unavailable")
	// ErrNotExecutable: the command exists but the kernel refuses to execute it.
	ErrNotExecutable = errors.New("not executable")
	// ErrNotFound: the command does not exist inside the sandbox.
	ErrNotFound = errors.New("command not found")
	// ErrBase: the base that the spec names does not exist on this machine.
	ErrBase = errors.New("base not available")
	// ErrNetwork: the spec asks for a network, and the runtime was not told to give any.
	ErrNetwork = errors.New("no network is given to sandboxes here")
	// ErrDevice: a device of the spec cannot be given.
	ErrDevice = errors.New("device not available")
	// ErrGone: the sandbox died or was removed.
	ErrGone = errors.New("sandbox is gone")
)

// Runtime makes sandboxes on one machine. All methods may be called from many goroutines.
type Runtime interface {
	// Info names the runtime and its parts, for the fleet view and for doctor.
	Info(ctx context.Context) (Info, error)
	// Reap removes everything that earlier processes of this runtime left on the machine:
	// containers, shims, mounts, cgroups, folders. It is called before the first Create, again when
	// it failed with ErrUnavailable, and never touches what this process made.
	Reap(ctx context.Context) error
	// Create returns a sandbox that waits for its first command. Nothing of the user's has run in
	// it yet. On an error nothing is left behind. Errors: ErrUnavailable, ErrBase, ErrNetwork, ErrDevice.
	Create(ctx context.Context, spec Spec) (Sandbox, error)
	// Close removes the sandboxes that are still there and lets go of the runtime.
	Close(ctx context.Context) error
}

// Sandbox is one isolated place. Its commands run one after the other: Start, Wait, Start, Wait.
// A sandbox serves one execution and is then removed, or is Renewed for the next of the same user.
type Sandbox interface {
	// ID is the spec's ID.
	ID() string
	// Alive is false once the sandbox is known to be gone: it died, or was removed.
	Alive() bool
	// Work is the function's folder as the host sees it, opened so that no path leaves it. It is
	// nil for Kind Run. It stays open until Remove. What the host puts there belongs to the
	// sandbox's user from the next Start on; what commands put there is theirs: trust none of it.
	Work() *os.Root
	// Results is the folder of results as the host sees it, opened so that no path leaves it, when the
	// last command has ended; nil when nothing is there, and where there is no such folder. The caller
	// closes it. What lies there is the sandbox's user's: trust none of it.
	Results() (*os.Root, error)
	// Start forks the command inside the sandbox and returns when it executes. The three files are
	// duplicated into the sandbox: the caller closes its own copies when it likes. Pipes are handed
	// over to the sandbox's user, so that /dev/stdout and its like can be opened.
	// Errors: ErrBusy (the last command has not ended), ErrNotFound, ErrNotExecutable (nothing has run, the sandbox can be used again),
	// ErrGone, ErrUnavailable.
	Start(ctx context.Context, cmd Command) error
	// Wait returns how the last started command ended. The context's end ends the waiting, not the
	// command. Processes that the command left behind in the sandbox have been killed when Wait
	// returns, so its pipes are at their end. Errors: ErrGone when the sandbox died with it; the
	// Exit then says what is known (a SIGKILL, OOM).
	Wait(ctx context.Context) (Exit, error)
	// Signal sends a signal to the process group of the running command. No command running is not
	// an error.
	Signal(ctx context.Context, signal syscall.Signal) error
	// Kill ends every process of the running command with SIGKILL, stopped ones too, and Wait
	// returns. No command running is not an error.
	Kill(ctx context.Context) error
	// Processes are the numbers, on the host, of the processes that commands have started and that
	// have not ended.
	Processes() ([]int, error)
	// Renew makes the sandbox as it was before its first command: /tmp, /dev/shm and ResultsDir are empty, no IPC
	// object is left, limits and usage count anew. It is for a spec that is Renewable, when no command
	// runs. What cannot be put right is an error: remove the sandbox then.
	Renew(ctx context.Context) error
	// Remove kills what runs and removes every trace. It may be called again.
	Remove(ctx context.Context) error
}

// Spec is what a sandbox is made of. Two equal specs (but for the ID) make sandboxes that cannot
// be told apart from inside.
type Spec struct {
	// ID is unique on the machine: letters, digits and '-', at most 64 bytes.
	ID   string
	Kind Kind
	// Base names the root filesystem; "host" is the machine's own /usr, read-only.
	Base string
	// Root is the host folder that holds it, and is not changed; empty for "host".
	Root string
	// Dir is the host folder that holds the built function (Kind Run), mounted read-only at
	// FunctionDir. Its files must be readable (and executable) by others: the sandbox's user is
	// nobody's equal on the host.
	Dir string
	// WorkBytes limits the writable folder of Kind Build.
	WorkBytes int64
	Limits    Limits
	// Renewable: Renew will be called (Kind Run).
	Renewable bool
	// Network is Outbound for a Kind Run at most.
	Network Network
	// Devices are the ids of those that it gets (Kind Run): UUIDs of GPUs. It sees no other.
	Devices []string
}

// Limits bound one sandbox. All but ResultsBytes are required; the caller has applied the defaults.
type Limits struct {
	// MemoryBytes bounds resident memory, tmpfs included; there is no swap.
	MemoryBytes int64
	// CPUs is the share of CPU time in cores: 0.5 is half a core.
	CPUs float64
	// PIDs bounds processes and threads together.
	PIDs int64
	// TmpBytes is the size of /tmp.
	TmpBytes int64
	// ResultsBytes is the size of the folder of results; 0 is none. A build has none.
	ResultsBytes int64
}

// Command is one process to run in a sandbox.
type Command struct {
	// Args is the argument vector; Args[0] is a path inside the sandbox, relative to FunctionDir
	// if it contains a slash and is not absolute, and searched in PATH if it contains none.
	Args []string
	// Env is the whole environment, NAME=value.
	Env []string
	// Stdin, Stdout, Stderr become the descriptors 0, 1 and 2. None may be nil.
	Stdin, Stdout, Stderr *os.File
}

// Exit is how a command ended.
type Exit struct {
	// Code is the exit status, or 128+Signal when a signal ended it, as a shell says it.
	Code int
	// Signal ended the command; 0 when it exited by itself.
	Signal syscall.Signal
	// OOM: the kernel killed a process of this sandbox because the memory limit was reached.
	OOM bool
	// PIDsLimit: a fork failed because the PIDs limit was reached.
	PIDsLimit bool
	// Full is a writable folder that had no room left when the command ended. A command that tidies
	// up after its failure leaves none.
	Full  Full
	Usage Usage
}

// Full is a folder without room for more; the zero value is none.
type Full struct {
	// Path inside the sandbox: FunctionDir of a build, /tmp, /dev/shm or ResultsDir.
	Path string
	// What it holds at most and was reached, bytes or files; the other is 0.
	Bytes, Files int64
}

// Usage is what the command took, as far as the runtime can tell (0 when it cannot).
type Usage struct {
	CPU             time.Duration
	PeakMemoryBytes int64
}

// Info describes a runtime.
type Info struct {
	// Name is "containerd" or "fake".
	Name string
	// Version of the runtime, and of the OCI runtime below it.
	Version, OCI string
	// Bases that Create accepts, with events.ImageBases for those that have a Root.
	Bases []string
	// Network: Create accepts Outbound.
	Network bool
}
