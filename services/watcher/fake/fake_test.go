package fake_test

import (
	"os"
	"path/filepath"
	"testing"

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
