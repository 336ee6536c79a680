package instance_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// reportEnv names a file that gets what the attacks came to: go test keeps the output of tests that pass
// to itself.
const reportEnv = "HERMES_ATTACK_REPORT"

// found is what attacks came to.
type found struct {
	probes, leaks, forged int
	// weakened are attacks that were shown to succeed where the protection was taken away.
	weakened int
}

// The kinds of servers that attacks run on.
const (
	onEmbedded = "embedded server"
	onExternal = "external server"
	onCluster  = "cluster of three"
)

// report sums up all attacks of the package.
var report = struct {
	sync.Mutex
	of map[string]*found
}{of: map[string]*found{onEmbedded: {}, onExternal: {}, onCluster: {}}}

// kindOf tells from the test's name which servers it runs on, as everywhere names them.
func kindOf(t *testing.T) string {
	switch {
	case strings.Contains(t.Name(), "/cluster"):
		return onCluster
	case strings.Contains(t.Name(), "/external"):
		return onExternal
	}
	return onEmbedded
}

// count adds to what the attacks came to.
func count(t *testing.T, f found) {
	t.Helper()
	report.Lock()
	defer report.Unlock()
	sum := report.of[kindOf(t)]
	sum.probes, sum.leaks, sum.forged, sum.weakened = sum.probes+f.probes, sum.leaks+f.leaks, sum.forged+f.forged, sum.weakened+f.weakened
}

// probe counts one probe, and a leak unless it was in vain.
func probe(t *testing.T, what string, inVain bool, got any) {
	t.Helper()
	f := found{probes: 1}
	if !inVain {
		f.leaks++
		t.Errorf("%s: %v", what, got)
	}
	count(t, f)
}

// weak counts an attack that must succeed where the protection was taken away: otherwise that it fails
// elsewhere proves nothing.
func weak(t *testing.T, what string, succeeded bool, got any) {
	t.Helper()
	if !succeeded {
		t.Errorf("%s fails even without protection, so this proves nothing: %v", what, got)
		return
	}
	count(t, found{weakened: 1})
}

// reporting runs tests and then says what the attacks came to.
type reporting struct{ m *testing.M }

// Run implements goleak.TestingM.
func (r reporting) Run() int {
	code := r.m.Run()
	report.Lock()
	defer report.Unlock()
	text, weakened := "", 0
	for _, kind := range []string{onEmbedded, onExternal, onCluster} {
		f := report.of[kind]
		weakened += f.weakened
		text += fmt.Sprintf("attacks of users and watchers, %s: tried %d, leaks %d, forged events %d\n", kind, f.probes, f.leaks, f.forged)
	}
	text += fmt.Sprintf("attacks of users and watchers that were shown to succeed where the protection was taken away: %d\n", weakened)
	fmt.Print(text)
	path := os.Getenv(reportEnv)
	if path == "" {
		return code
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the report cannot be written:", err)
		return max(code, 1)
	}
	if err := f.Close(); err != nil {
		return max(code, 1)
	}
	return code
}
