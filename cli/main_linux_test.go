package cli

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/hermes-serverless/hermes/cli/iostreams"
)

// TestMain makes the test binary be hermes, and the server of the scripts, when it is called so.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"hermes":  func() { os.Exit(Main(os.Args[1:], iostreams.System())) },
		"hermesd": func() { os.Exit(serveForScript()) },
		"relay":   func() { os.Exit(relayForScript()) },
	})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}
