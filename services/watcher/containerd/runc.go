package containerd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// runc starts each container by a call of the program.
type runc struct{ path string }

// start implements starter.
func (r runc) start(ctx context.Context, t *task) (int, error) {
	if err := os.Mkdir(t.bundle, 0o700); err != nil {
		return 0, fmt.Errorf("make the bundle: %w", err)
	}
	defer os.RemoveAll(t.bundle) //nolint:errcheck // it goes with the next start of containerd
	if err := os.WriteFile(filepath.Join(t.bundle, "config.json"), t.spec, 0o600); err != nil {
		return 0, fmt.Errorf("write the bundle: %w", err)
	}
	log, pidFile := filepath.Join(t.bundle, "log.json"), filepath.Join(t.bundle, "pid")
	cmd := exec.CommandContext(ctx, r.path, "--root", t.root, "--log", log, "--log-format", "json",
		"run", "--detach", "--bundle", t.bundle, "--pid-file", pidFile, t.id)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// The death signal comes when the thread ends that forked, so that thread must stay.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("runc run: %w: %s", errors.Join(err, ctx.Err()), lastError(log))
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, fmt.Errorf("learn the init's process id: %w", err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return 0, fmt.Errorf("learn the init's process id: %w", err)
	}
	return pid, nil
}

// reap implements starter. The init became this process's child when runc ended: Serve made this
// process its descendants' reaper.
func (r runc) reap(pid int) (unix.WaitStatus, error) { return reapChild(pid) }

func reapChild(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			return status, err
		}
	}
}

// lastError is the last thing that runc's log says.
func lastError(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return "it wrote no log"
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var entry struct{ Msg string }
	if last := lines[len(lines)-1]; json.Unmarshal(last, &entry) != nil {
		return string(last)
	}
	return entry.Msg
}
