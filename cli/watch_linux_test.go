package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestWatchFitsTheTerminal: a list that is longer and wider than the terminal does not scroll away.
func TestWatchFitsTheTerminal(t *testing.T) {
	const columns, rows = 40, 8
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if err := pty.Setsize(near, &pty.Winsize{Rows: rows, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	var found []api.Execution
	for n := range int64(20) {
		found = append(found, state(executions.Running, func(e *api.Execution) {
			e.Number, e.Request.Function = n+1, events.FunctionRef{Owner: "ana", Name: "名前名前名前名前名前", Version: "1.0.0"}
		}))
	}
	o := &executionListOptions{app: newApp(&iostreams.Streams{Out: near, OutTerminal: true, Colour: true}), limit: 50}
	drawn := make(chan []byte)
	go func() {
		raw, _ := io.ReadAll(far) // until the other end is closed
		drawn <- raw
	}()
	if err := o.show(found); err != nil {
		t.Fatal(err)
	}
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	screen, cleared := bytes.CutPrefix(<-drawn, []byte(clearScreen))
	lines := strings.Split(strings.TrimSuffix(string(screen), "\r\n"), "\r\n")
	if !cleared || len(lines) != rows-1 {
		t.Errorf("%d lines on a terminal of %d: %q", len(lines), rows, screen)
	}
	for _, line := range lines {
		if w := ansi.StringWidth(line); w > columns {
			t.Errorf("%q is %d wide", line, w)
		}
	}
}
