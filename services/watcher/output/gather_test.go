package output

import (
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
)

func TestGather(t *testing.T) {
	t0 := time.Unix(1000, 0)
	g := newGather(8, 2)
	take := func(at time.Duration, want string, wait time.Duration, end bool) {
		t.Helper()
		parts, gotWait, gotEnd := g.take(t0.Add(at))
		var got []string
		for _, p := range parts {
			got = append(got, p.stream+":"+string(p.data))
		}
		if s := strings.Join(got, " "); s != want || gotWait != wait || gotEnd != end {
			t.Errorf("take at %v = %q, %v, %v; want %q, %v, %v", at, s, gotWait, gotEnd, want, wait, end)
		}
	}
	add := func(stream, data string, used bool) {
		t.Helper()
		if got := g.add(stream, t0, []byte(data), 1); got != used {
			t.Errorf("add %q made a new part: %v, want %v", data, got, used)
		}
	}
	take(0, "", 0, false)
	add(api.Stdout, "a", true)
	take(0, "stdout:a", 0, false) // idle: at once
	add(api.Stdout, "b", true)
	add(api.Stdout, "c", false) // joins b
	add(api.Stderr, "d", true)
	take(4*time.Millisecond, "", 6*time.Millisecond, false) // load: gathered
	take(window, "stdout:bc stderr:d", 0, false)
	add(api.Stdout, "0123456789", true)
	take(window+time.Millisecond, "stdout:01234567", window, false) // full parts do not wait
	g.done()
	take(window+2*time.Millisecond, "", window-time.Millisecond, false)
	g.done()
	take(window+2*time.Millisecond, "stdout:89", 0, true) // the end does not wait
	take(window+2*time.Millisecond, "", 0, true)
}
