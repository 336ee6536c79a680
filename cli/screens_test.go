package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// screenshot is a command of the README with what an instance answered when its screen was taken.
type screenshot struct {
	Command string
	Replies map[string]json.RawMessage
	// Output is the page of what the execution has printed, and its bytes.
	Output struct {
		Page json.RawMessage
		Data string
	}
}

func screenshots(t *testing.T) []screenshot {
	t.Helper()
	raw, err := os.ReadFile("testdata/screens.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []screenshot
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// screensTaken is the day on which the screens were taken.
var screensTaken = time.Date(2026, 11, 29, 23, 50, 0, 0, time.UTC)

// TestScreens: what the README shows of executions is what the commands print of what an instance
// answered them.
func TestScreens(t *testing.T) {
	zone := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = zone })
	for _, shot := range screenshots(t) {
		t.Run(shot.Command, func(t *testing.T) {
			s := newStub(t)
			shot.serve(s)
			var out, errOut bytes.Buffer
			a := newApp(&iostreams.Streams{Out: &out, Err: &errOut})
			a.now = func() time.Time { return screensTaken }
			root := newRootCmd(a)
			root.SetArgs(strings.Fields(shot.Command))
			if err := root.ExecuteContext(t.Context()); err != nil || errOut.Len() > 0 {
				t.Fatalf("%v %s", err, errOut.String())
			}
			if got, want := out.String(), shown(t, shot.Command); got != want {
				t.Errorf("the README shows\n%s\nand it prints\n%s", want, got)
			}
		})
	}
}

func (shot screenshot) serve(s *stub) {
	s.t.Helper()
	for op, reply := range shot.Replies {
		answer(s, op, func(map[string]any) (json.RawMessage, error) { return reply, nil })
	}
	err := s.api.Handle(api.OpExecutionOutput, "hermes.api.*."+api.OpExecutionOutput,
		func(context.Context, string, []byte) (nats.Header, []byte, error) {
			return nats.Header{api.HeaderPage: {string(shot.Output.Page)}}, []byte(shot.Output.Data), nil
		})
	if err == nil {
		err = s.nc.Flush()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestScreenOfAMap: the sum that the README shows is that of the executions that it lists below.
func TestScreenOfAMap(t *testing.T) {
	var listed api.Executions
	for _, shot := range screenshots(t) {
		if strings.Contains(shot.Command, "--batch") {
			if err := json.Unmarshal(shot.Replies[api.OpExecutionList], &listed); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Reverse(listed.Executions)
	var out bytes.Buffer
	a := newApp(&iostreams.Streams{Out: &out, Err: &out})
	a.now = func() time.Time { return screensTaken }
	first := listed.Executions[0].Request
	m := &mapper{functionMapOptions: &functionMapOptions{
		app: a, batch: first.Batch.ID, ref: events.FunctionRef{Owner: "ana", Name: "primes", Version: "1.0.0"},
	}}
	r := newMapReport(m)
	for _, e := range listed.Executions {
		r.add(mapEnd{mapInput: mapInput{index: e.Request.Batch.Index}, exec: e})
	}
	a.now = func() time.Time { return screensTaken.Add(1205 * time.Millisecond) } // when the last had ended
	r.Inputs = int64(len(listed.Executions))
	r.sum(m)
	if err := r.print(a); err != nil {
		t.Fatal(err)
	}
	begins, rest, _ := strings.Cut(shown(t, "function map primes:1.0.0 --inputs limits.txt --out counts"), "\n")
	if begins != "hermes: batch "+m.batch+" begins: 5 inputs of primes:1.0.0" || out.String() != rest {
		t.Errorf("the README shows\n%s\n%s\nand it prints\n%s", begins, rest, out.String())
	}
}

// shown is what the README shows below a command.
func shown(t *testing.T, command string) string {
	t.Helper()
	raw, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, there := strings.Cut(string(raw), "\n    $ hermes "+command+"\n")
	if !there {
		t.Fatalf("the README does not show %q", command)
	}
	var screen strings.Builder
	for line := range strings.Lines(rest) {
		text, is := strings.CutPrefix(line, "    ")
		if line == "\n" {
			text, is = line, true
		}
		if !is || strings.HasPrefix(text, "$ ") {
			break
		}
		screen.WriteString(text)
	}
	return strings.TrimRight(screen.String(), "\n") + "\n"
}
