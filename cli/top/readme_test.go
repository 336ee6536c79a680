package top

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestREADME: the screen that the README shows is the picture of what an instance answered when it was
// taken, seven seconds after the first of four runs had started.
func TestREADME(t *testing.T) {
	raw, err := os.ReadFile("testdata/readme.json")
	if err != nil {
		t.Fatal(err)
	}
	var taken struct {
		Fleet api.Fleet
		Live  api.Executions
	}
	if err := json.Unmarshal(raw, &taken); err != nil {
		t.Fatal(err)
	}
	var listed Listed
	byNumber := map[int64]executions.Execution{}
	for _, e := range taken.Live.Executions {
		listed.Executions = append(listed.Executions, e.Execution)
		byNumber[e.Number] = e.Execution
	}
	now := byNumber[15].StartedAt.Add(7100 * time.Millisecond)
	on := byNumber[18].ID
	w := newWorld(t, nil).tell(
		tea.WindowSizeMsg{Width: 100, Height: 24}, Tick(now), Machines{Fleet: taken.Fleet}, listed,
		Printed{ID: on, Anew: true, Chunks: []api.Chunk{{Data: []byte("below 10: 4\nbelow 100: 25\nbelow 1000: 168\nbelow 10000: 1229\nbelow 100000: 9592\n")}}},
		Printed{ID: on, Chunks: []api.Chunk{{Data: []byte("below 1000000: 78498\n")}}},
	)
	var screen strings.Builder
	for line := range strings.Lines(w.m.View().Content) {
		screen.WriteString(strings.TrimRight("    "+strings.TrimRight(line, "\n"), " ") + "\n")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "\n"+screen.String()) {
		t.Errorf("the README does not show\n%s", screen.String())
	}
}
