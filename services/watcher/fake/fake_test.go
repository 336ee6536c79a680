package fake_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
	"github.com/hermes-serverless/hermes/services/watcher/runtimetest"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

const stateEnv = "HERMES_TEST_FAKE_STATE"

func TestMain(m *testing.M) {
	runtimetest.LeaveBehind(func() (sandbox.Runtime, error) { return fake.New(os.Getenv(stateEnv)), nil })
	leaktest.Main(m)
}

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) sandbox.Runtime { return fake.New(t.TempDir()) }, runtimetest.Options{Crash: crash})
}

// TestAProgramThatIsStillWritten: who starts a program while a fork of this process holds the file as it
// was written waits until that is over.
func TestAProgramThatIsStillWritten(t *testing.T) {
	dir := t.TempDir()
	file, err := os.OpenFile(filepath.Join(dir, "run.sh"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("#!/bin/sh\nexit 3\n"); err != nil {
		t.Fatal(err)
	}
	r := fake.New(t.TempDir())
	defer func() { _ = r.Close(t.Context()) }()
	box, err := r.Create(t.Context(), sandbox.Spec{
		ID: "one", Kind: sandbox.Run, Base: "host", Dir: dir,
		Limits: sandbox.Limits{MemoryBytes: 128 << 20, CPUs: 1, PIDs: 64, TmpBytes: 16 << 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	time.AfterFunc(100*time.Millisecond, func() { _ = file.Close() })
	if err := box.Start(t.Context(), sandbox.Command{Args: []string{"./run.sh"}, Stdin: null, Stdout: null, Stderr: null}); err != nil {
		t.Fatal(err)
	}
	if exit, err := box.Wait(t.Context()); err != nil || exit.Code != 3 {
		t.Errorf("%+v, %v", exit, err)
	}
}

func crash(t *testing.T) (sandbox.Runtime, func() []string) {
	state := t.TempDir()
	runtimetest.RunAndKill(t, stateEnv+"="+state)
	present := func() []string {
		found, err := filepath.Glob(filepath.Join(state, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	return fake.New(state), present
}
