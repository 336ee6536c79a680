package events

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// BenchmarkDecode decodes what a small run is stored as.
func BenchmarkDecode(b *testing.B) {
	sum := strings.Repeat("0123456789abcdef", 4)
	for _, d := range []Data{
		ExecutionRequested{
			Kind: KindRun, Function: FunctionRef{Owner: "alice", Name: "vadd", Version: "1.0.0"}, Source: Blob{Digest: "sha256:" + sum, SizeBytes: 1 << 20},
			Base: HostBase, Handler: "./main", Language: "cpp", Input: Input{Inline: []byte("41 points of the input")},
			Limits: Limits{TimeoutMillis: 600_000, MemoryBytes: 512 << 20, CPUMillis: 1000, PIDs: 256, TmpBytes: 64 << 20, OutputBytes: 64 << 20},
		},
		ExecutionStarted{Attempt: 1, Watcher: "node-1", Sandbox: "warm", SandboxMicros: 4123},
		ExecutionSucceeded{Attempt: 1, Output: Output{StdoutBytes: 1234, Chunks: 3, SHA256: sum}, Usage: Usage{RunMicros: 2_000_000, CPUMicros: 1_800_000, PeakMemoryBytes: 8 << 20}},
	} {
		m, err := Encode(Event{ID: "01JDY3M8WZ0000000000000000", Source: "orchestrator", Time: time.Unix(1e9, 0), Data: d})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(d.Type()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestStrictDecodersAreAsNew: one that has decoded others says of a value what a new one does, whatever
// came before.
func TestStrictDecodersAreAsNew(t *testing.T) {
	whole := `{"attempt":1,"watcher":"w","sandbox":"warm","sandboxMicros":7}`
	parts := []string{
		whole, whole + " ", "\n" + whole + "\n\n", whole + whole, whole + "x", whole[:len(whole)-1], "{}", " {} ", "{}{", "{}}", `{"attempt":"1"}`, `{"other":1}`,
		`{"watcher":"` + strings.Repeat("long", maxKept) + `"}`, `{"attempt":2}` + strings.Repeat(" ", 2000),
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 5 {
			raw := rapid.SampledFrom(parts).Draw(t, "raw")
			got, err := decodeAs[ExecutionStarted]([]byte(raw))
			var want ExecutionStarted
			d := json.NewDecoder(strings.NewReader(raw))
			d.DisallowUnknownFields()
			wantErr := d.Decode(&want)
			if _, e := d.Token(); wantErr == nil && !errors.Is(e, io.EOF) {
				wantErr = errors.New("more than one JSON value")
			}
			if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				t.Fatalf("%.80q: %v, want %v", raw, err, wantErr)
			}
			if err == nil && !reflect.DeepEqual(got, Data(want)) {
				t.Fatalf("%.80q is %+v, want %+v", raw, got, want)
			}
		}
	})
}
