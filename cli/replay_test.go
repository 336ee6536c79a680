package cli

import (
	"bytes"
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/services/api"
)

// TestReplayIsWhatWasPrinted plays outputs whose chunks have any times, at any speed: what comes out
// of each stream is what was recorded of it, and the pauses last together as long as it did.
func TestReplayIsWhatWasPrinted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunks := cutUp(t, rapid.StringN(0, 40, 60).Draw(t, "text"))
		begin := time.Unix(100, 0)
		last, lasted := begin, time.Duration(0)
		want := map[string]*bytes.Buffer{api.Stdout: {}, api.Stderr: {}}
		for i := range chunks {
			// A clock that was set back makes no pause.
			chunks[i].Time = last.Add(time.Duration(rapid.IntRange(-2000, 5000).Draw(t, "ms")) * time.Millisecond)
			if chunks[i].Time.After(last) {
				lasted += chunks[i].Time.Sub(last)
				last = chunks[i].Time
			}
			want[chunks[i].Stream].Write(chunks[i].Data)
		}
		factor := rapid.SampledFrom([]float64{0, 0.5, 1, 4}).Draw(t, "factor")
		now, paused := time.Unix(9999, 0), time.Duration(0)
		a := testApp()
		a.now = func() time.Time { return now }
		o := &executionReplayOptions{app: a, ctx: context.Background(), factor: factor}
		o.pause = func(_ context.Context, d time.Duration) error {
			if d <= 0 {
				t.Fatalf("a pause of %s", d)
			}
			now, paused = now.Add(d), paused+d
			return nil
		}
		var out, errOut bytes.Buffer
		play := o.player(begin, splitOutput(&out, &errOut))
		for _, c := range chunks {
			if err := play(c); err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != want[api.Stdout].String() || errOut.String() != want[api.Stderr].String() {
			t.Fatalf("it printed %q and %q", out.String(), errOut.String())
		}
		total := time.Duration(0)
		if factor > 0 {
			total = time.Duration(float64(lasted) / factor)
		}
		if difference := total - paused; difference < -time.Microsecond || difference > time.Microsecond {
			t.Fatalf("it took %s at %gx, and %s when it was printed", paused, factor, lasted)
		}
	})
}

func TestSpeeds(t *testing.T) {
	for text, want := range map[string]float64{"1x": 1, "2": 2, "0.5x": 0.5, "max": 0} {
		if got, err := parseSpeed(text); err != nil || got != want {
			t.Errorf("%q is %g, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "0x", "-1x", "fast", "NaN", "Inf"} {
		if got, err := parseSpeed(text); err == nil {
			t.Errorf("%q was taken for %g", text, got)
		}
	}
}
