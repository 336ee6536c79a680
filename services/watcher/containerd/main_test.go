package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hermes-serverless/hermes/services/watcher/runtimetest"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Variables that make the test binary another program.
const (
	serveEnv    = "HERMES_TEST_SERVE"         // a containerd in this folder, as hermesd makes itself one
	addressEnv  = "HERMES_TEST_ADDRESS"       // with the next: a watcher that is about to be killed
	stateEnv    = "HERMES_TEST_STATE"         //
	externalEnv = "HERMES_TEST_CONTAINERD"    // the address of a containerd to test against instead of our own
	everEnv     = "HERMES_TEST_SUPERVISE"     // a hermesd that is about to be killed, with its containerd
	requiredEnv = "HERMES_REQUIRE_CONTAINERD" // to miss a program is a failure, not a reason to skip
)

func TestMain(m *testing.M) {
	if what := os.Getenv(probeEnv); what != "" {
		runProbe(what)
		os.Exit(0)
	}
	if os.Getenv(threadEnv) != "" {
		exit(dieOnThread())
	}
	if dir := os.Getenv(leaveNetworkEnv); dir != "" {
		leaveNetwork(dir)
	}
	if dir := os.Getenv(serveEnv); dir != "" {
		exit(Serve(context.Background(), dir))
	}
	runtimetest.LeaveBehind(leavingRuntime)
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the tests' containerd:", err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// leavingRuntime is the runtime of a process that will be killed: on another's containerd, or on
// one that it supervises itself.
func leavingRuntime() (sandbox.Runtime, error) {
	address, state := os.Getenv(addressEnv), os.Getenv(stateEnv)
	if dir := os.Getenv(everEnv); dir != "" {
		s, err := Supervise(context.Background(), superviseOptions(dir))
		if err != nil {
			return nil, err
		}
		address = s.Address()
	}
	libexec, err := testLibexec()
	if err != nil {
		return nil, err
	}
	return New(context.Background(), Options{
		Address: address, Namespace: filepath.Base(state), StateDir: state, Libexec: libexec,
		AllowNetwork: os.Getenv(leaveNetworkEnv) != "",
	})
}

func superviseOptions(dir string) SuperviseOptions {
	return SuperviseOptions{Dir: dir, Env: []string{serveEnv + "=" + dir, everEnv + "="}}
}

// shared is the one containerd of all tests that do not harm it.
var shared sharedContainerd

type sharedContainerd struct {
	once sync.Once
	dir  string
	is   *Supervised
	err  error
}

// address starts it at the first call, unless the environment names another.
func (s *sharedContainerd) address() (string, error) {
	if address := os.Getenv(externalEnv); address != "" {
		return address, nil
	}
	s.once.Do(func() {
		if s.dir, s.err = passableDir(); s.err == nil {
			s.is, s.err = Supervise(context.Background(), superviseOptions(filepath.Join(s.dir, "c")))
		}
	})
	if s.err != nil {
		return "", s.err
	}
	return s.is.Address(), nil
}

func (s *sharedContainerd) stop() error {
	if s.is == nil {
		return nil
	}
	return errors.Join(s.is.Stop(), os.RemoveAll(s.dir))
}

// passableDir is a short temporary folder that a container's own user may pass; t.TempDir is not.
func passableDir() (string, error) {
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

func newDir(t testing.TB) string {
	t.Helper()
	dir, err := passableDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// testLibexec finds the programs where setup.sh builds them, unless the environment says otherwise.
func testLibexec() (Libexec, error) {
	if os.Getenv(LibexecEnv) == "" {
		dir, err := filepath.Abs("../../../bin/libexec")
		if err != nil {
			return Libexec{}, err
		}
		if err := os.Setenv(LibexecEnv, dir); err != nil {
			return Libexec{}, err
		}
	}
	return FindLibexec()
}

// needContainers skips a test where containers cannot be made, unless they must be.
func needContainers(t testing.TB) Libexec {
	t.Helper()
	libexec, err := testLibexec()
	if os.Geteuid() != 0 {
		err = errors.Join(err, errors.New("not root"))
	}
	if err == nil {
		return libexec
	}
	if os.Getenv(requiredEnv) != "" {
		t.Fatal(err)
	}
	t.Skip(err)
	return libexec
}

// newRuntime is a runtime of its own on the shared containerd.
func newRuntime(t testing.TB) *Runtime {
	t.Helper()
	return newRuntimeIn(t, newDir(t))
}

func newRuntimeIn(t testing.TB, state string) *Runtime {
	t.Helper()
	return newRuntimeWith(t, state, func(*Options) {})
}

func newRuntimeWith(t testing.TB, state string, change func(*Options)) *Runtime {
	t.Helper()
	libexec := needContainers(t)
	address, err := shared.address()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Address: address, Namespace: filepath.Base(state), StateDir: state, Libexec: libexec}
	change(&opts)
	r, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}
