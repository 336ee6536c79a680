package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrMissing: a program that sandboxes are made with is nowhere on this machine.
var ErrMissing = errors.New("program is missing")

// Names of the programs in a libexec folder.
const (
	RuncName    = "runc"
	InitName    = "hermes-init"
	NetworkName = "hermes-network"
	// LaunchName may be missing: runc does the same, a little slower.
	LaunchName = "hermes-launch"
)

// LibexecEnv names the variable that says where the programs are, before any other place.
const LibexecEnv = "HERMES_LIBEXEC"

// Libexec are the programs that sandboxes are made with, as absolute paths.
type Libexec struct {
	Runc, Init string
	// Network is empty when it was not found: only sandboxes with a network need it.
	Network string
	// Launch starts containers in runc's place; "" where there is none. It is for the containerd of
	// Serve alone.
	Launch string
	// Warning is not empty when a program was found that will do but should be replaced.
	Warning string
}

// FindLibexec looks in $HERMES_LIBEXEC, in libexec beside this executable and in libexec/hermes
// beside its folder, for each program on its own. runc is also taken from PATH, with a warning.
// Errors: ErrMissing, one for each program that is missing, joined.
func FindLibexec() (Libexec, error) {
	return findLibexec(libexecDirs())
}

func libexecDirs() []string {
	var dirs []string
	if dir := os.Getenv(LibexecEnv); dir != "" {
		dirs = append(dirs, dir)
	}
	if exe, err := os.Executable(); err == nil {
		here := filepath.Dir(exe)
		dirs = append(dirs, filepath.Join(here, "libexec"), filepath.Join(here, "..", "libexec", "hermes"))
	}
	return dirs
}

func findLibexec(dirs []string) (Libexec, error) {
	var found Libexec
	found.Launch = lookIn(dirs, LaunchName)
	var errs []error
	for _, program := range []struct {
		name string
		path *string
	}{{RuncName, &found.Runc}, {InitName, &found.Init}} {
		if *program.path = lookIn(dirs, program.name); *program.path == "" && program.name == RuncName {
			found.Runc, found.Warning = runcOfPath()
		}
		if *program.path == "" {
			errs = append(errs, missing(program.name, dirs))
		}
	}
	found.Network = lookIn(dirs, NetworkName)
	return found, errors.Join(errs...)
}

func missing(name string, dirs []string) error {
	return fmt.Errorf("%s (looked in %s): %w; run deployments/setup.sh, or set %s", name, strings.Join(dirs, ", "), ErrMissing, LibexecEnv)
}

func lookIn(dirs []string, name string) string {
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if err == nil && isProgram(path) {
			return path
		}
	}
	return ""
}

func runcOfPath() (path, warning string) {
	path, err := exec.LookPath(RuncName)
	if err != nil {
		return "", ""
	}
	return path, "runc is the system's (" + path + "): its version may lack fixes; run deployments/setup.sh to build the pinned one"
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// check says which of the programs that a Runtime calls or hands on is not there.
func (l Libexec) check(withNetwork bool) error {
	programs := map[string]string{RuncName: l.Runc, InitName: l.Init}
	if withNetwork {
		programs[NetworkName] = l.Network
	}
	for name, path := range programs {
		if !filepath.IsAbs(path) || !isProgram(path) {
			return fmt.Errorf("%s at %q: %w; run deployments/setup.sh, or set %s", name, path, ErrMissing, LibexecEnv)
		}
	}
	return nil
}

// OCIVersion asks an OCI runtime for its first line of --version, such as "runc version 1.5.2".
func OCIVersion(ctx context.Context, runtime string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, runtime, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", runtime, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first), nil
}

// starts is the program that starts containers.
func (l Libexec) starts() string {
	if l.Launch != "" {
		return l.Launch
	}
	return l.Runc
}
