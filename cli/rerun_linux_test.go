package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestRerunIsIdentical: what always prints the same prints the same again, whatever bytes that are, and
// something else when it is given another input.
func TestRerunIsIdentical(t *testing.T) {
	r := rand.New(rand.NewPCG(drawnSeed(t), 0))
	h := newHome(t)
	h.serve()
	h.deploySh()
	for n := range 6 {
		prints := make([]byte, 1+r.IntN(2000))
		for i := range prints {
			prints[i] = byte(r.Uint32())
		}
		at := r.IntN(len(prints))
		h.write("in", printing64(prints))
		prints[at]++
		h.write("other", printing64(prints))
		prints[at]--
		if got := h.output("hermes", "function", "run", "sh", "-f", "in"); got != string(prints) {
			t.Fatalf("it prints %d bytes, want %d", len(got), len(prints))
		}
		id := strconv.Itoa(2 + 3*n) // behind the build, and two reruns each

		same, code := h.compare(t, "execution", "rerun", id, "--diff", "-j")
		if code != 0 || !same.Same || same.Stdout.BytesAfter != len(prints) || same.After.Output.SHA256 != same.Before.Output.SHA256 ||
			same.After.Origin != same.Before.ID {
			t.Errorf("again: exit code %d, %+v", code, same)
		}
		other, code := h.compare(t, "execution", "rerun", id, "--input", "other", "--diff", "-j")
		if code != exitFailed || other.Same || !other.SameEnd || other.Stdout.Offset != at {
			t.Errorf("with another byte at %d: exit code %d, %+v", at, code, other)
		}
	}
}

// printing64 is a script that prints these bytes.
func printing64(prints []byte) string {
	return fmt.Sprintf("echo %s | base64 -d\n", base64.StdEncoding.EncodeToString(prints))
}

// compare runs a rerun with --diff as JSON.
func (h *home) compare(t *testing.T, args ...string) (c comparison, code int) {
	t.Helper()
	cmd := h.command(append([]string{"hermes"}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run() // its exit code is what is wanted
	if err := json.Unmarshal(out.Bytes(), &c); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errOut.String())
	}
	return c, cmd.ProcessState.ExitCode()
}
