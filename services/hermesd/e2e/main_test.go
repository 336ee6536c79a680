package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const module = "github.com/hermes-serverless/hermes/"

// programs are what the tests start, built once.
var programs struct{ hermes, hermesd, natsServer, libexec string }

// unable is why there can be no test here; nil where there can.
var unable error

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		return m.Run()
	}
	if unable = look(); unable != nil {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "hermes-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// look finds what containers are made with.
func look() error {
	libexec := os.Getenv("HERMES_LIBEXEC")
	if libexec == "" {
		libexec = "../../../bin/libexec"
	}
	libexec, err := filepath.Abs(libexec)
	_, missing := os.Stat(filepath.Join(libexec, "hermes-init"))
	err = errors.Join(err, missing)
	if os.Geteuid() != 0 {
		err = errors.Join(err, errors.New("not root"))
	}
	programs.libexec = libexec
	return err
}

func build(dir string) error {
	programs.hermes, programs.hermesd = filepath.Join(dir, "hermes"), filepath.Join(dir, "hermesd")
	programs.natsServer = filepath.Join(dir, "nats-server")
	for _, pkg := range []string{module + "cli/hermes", module + "services/hermesd", "github.com/nats-io/nats-server/v2"} {
		cmd := exec.Command("go", "build", "-o", dir, pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	// Its last element is a version, which the go tool leaves out or not.
	if _, err := os.Stat(programs.natsServer); err != nil {
		return err
	}
	return nil
}

// needMachine skips a test where no containers can be made, unless they must be.
func needMachine(t *testing.T) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("takes minutes")
	case unable != nil && os.Getenv("HERMES_REQUIRE_CONTAINERD") != "":
		t.Fatal(unable)
	case unable != nil:
		t.Skip(unable)
	}
	t.Parallel()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
