package containerd

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// serveEnv makes the test binary a containerd, as hermesd makes itself one.
const serveEnv = "HERMES_TEST_SERVE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		if err := Serve(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
