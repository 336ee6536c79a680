package containerd

import (
	"os"
	"testing"
)

// reportEnv names a file that gets what the suites found: go test keeps the output of tests that pass
// to itself.
const reportEnv = "HERMES_ATTACK_REPORT"

// Report logs what a suite found, and adds it to the report.
func Report(t testing.TB, text string) {
	t.Helper()
	t.Log("\n" + text)
	path := os.Getenv(reportEnv)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text + "\n"); err != nil {
		t.Error(err)
	}
}
