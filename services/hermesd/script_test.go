package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run hermesd as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hermesd": main})
}

// TestScripts runs what goes wrong before an instance is up. What goes right is in package e2e.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
			e.Setenv("HERMES_LIBEXEC", os.Getenv("HERMES_LIBEXEC"))
			// Sandboxes look their root up as another user, who must be able to pass.
			if err := os.Chmod(filepath.Dir(e.WorkDir), 0o711); err != nil {
				return err
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Defer(func() { _ = l.Close() })
			e.Setenv("TAKEN", l.Addr().String())
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "runtime" {
				return os.Geteuid() == 0 && os.Getenv("HERMES_REQUIRE_CONTAINERD") != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// exits runs a command and compares its exit code: exits 2 hermesd …
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want, _ := strconv.Atoi(args[0]); code != want {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
