package top

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

var update = flag.Bool("update", false, "write the golden pictures anew")

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// world is a model with a record of what it asked for.
type world struct {
	t         testing.TB
	m         Model
	followed  []string
	cancelled []string
	quit      bool
	sequence  uint64
}

func newWorld(t testing.TB, change func(*Options)) *world {
	w := &world{t: t}
	o := Options{
		User: "ana", Now: start,
		Follow: func(id string) tea.Cmd { w.followed = append(w.followed, id); return nil },
		Cancel: func(id string) tea.Cmd { w.cancelled = append(w.cancelled, id); return nil },
	}
	if change != nil {
		change(&o)
	}
	w.m = New(o)
	return w
}

func (w *world) tell(messages ...tea.Msg) *world {
	for _, msg := range messages {
		next, cmd := w.m.Update(msg)
		w.m = next.(Model)
		if cmd != nil {
			if _, is := cmd().(tea.QuitMsg); is {
				w.quit = true
			}
		}
	}
	return w
}

// press types keys by their names, and everything else letter by letter.
func (w *world) press(keys ...string) *world {
	named := map[string]tea.Key{
		"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape},
		"home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd}, "backspace": {Code: tea.KeyBackspace}, "pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown},
		"ctrl+c": {Code: 'c', Mod: tea.ModCtrl},
	}
	for _, key := range keys {
		if k, is := named[key]; is {
			w.tell(tea.KeyPressMsg(k))
			continue
		}
		for _, r := range key {
			w.tell(tea.KeyPressMsg(tea.Key{Code: r, Text: string(r)}))
		}
	}
	return w
}

// id is the id of an execution by its number.
func id(number int64) string { return fmt.Sprintf("01JDY3M8WZ%016d", number) }

// happens is an event of an execution, some seconds after the start.
func (w *world) happens(number int64, seconds int, d events.Data) *world {
	w.t.Helper()
	raw, err := json.Marshal(d)
	if err != nil {
		w.t.Fatal(err)
	}
	w.sequence++
	return w.tell(Happened{Events: []api.ListedEvent{{Number: number, Event: api.Event{
		Sequence: w.sequence, ID: fmt.Sprint(w.sequence), Type: d.Type(), Source: "test", Data: raw,
		Time: start.Add(time.Duration(seconds) * time.Second), Subject: events.ExecutionSubject("ana", id(number)),
	}}}})
}

func requested(name string) events.ExecutionRequested {
	return events.ExecutionRequested{Kind: events.KindRun, Function: events.FunctionRef{Owner: "ana", Name: name, Version: "1.0.0"}}
}

func started(watcher string) events.ExecutionStarted {
	return events.ExecutionStarted{Attempt: 1, Watcher: watcher, Sandbox: "warm"}
}

func (w *world) printed(number int64, text string) *world {
	return w.tell(Printed{ID: id(number), Chunks: []api.Chunk{{Data: []byte(text)}}})
}

// busy has machines, executions in each state, and output.
func busy(w *world) *world {
	w.tell(Machines{Fleet: api.Fleet{
		Running: 9, Queued: 12, YourRunning: 2, YourQueued: 2,
		Watchers: []api.FleetWatcher{
			{Name: "local", State: api.WatcherReady, Slots: 4, UsedSlots: 2, YourSlots: 2, CPUMillis: 2000, UsedCPUMillis: 4000, MemoryBytes: 8 << 30, UsedMemoryBytes: 2 << 30},
			{Name: "gpu-1", State: api.WatcherDraining, Slots: 8, UsedSlots: 7, CPUMillis: 96000, UsedCPUMillis: 14000, MemoryBytes: 1 << 40, UsedMemoryBytes: 7 << 30, UsedGPUs: 3, GPUs: []api.FleetGPU{
				{Model: "NVIDIA H200"}, {Model: "NVIDIA H200"}, {Model: "NVIDIA H200"}, {Model: "NVIDIA H200", Fault: "xid 79"},
			}},
			{Name: "ラボ", State: api.WatcherSilent, Slots: 2, CPUMillis: 4000, MemoryBytes: 16 << 30},
		},
	}})
	w.happens(14, 0, requested("pi")).happens(14, 1, started("local"))
	train := requested("train")
	train.Batch = &events.BatchRef{ID: id(1), Index: 7}
	w.happens(15, 2, train).happens(15, 3, started("gpu-1"))
	w.happens(16, 4, requested("pi")).happens(17, 5, requested("a-function-with-a-very-long-name-that-no-column-holds"))
	w.happens(18, 5, requested("pi")).happens(18, 6, started("local")).tell(Tick(start.Add(8 * time.Second)))
	w.happens(18, 8, events.ExecutionFailed{Attempt: 1, Reason: events.ReasonExit, ExitCode: 3, Output: events.Output{StdoutBytes: 40960}})
	w.printed(14, "epoch 1\nepoch 2: loss 0.\x1b[31m25\x1b[0m\nepoch 3: 10%\repoch 3: 20%")
	return w.tell(Tick(start.Add(75 * time.Second / 10)))
}

// devices are those of the busy world: two of them are held by execution 15, and not every one tells everything.
func devices() Devices {
	h200 := func(n int) events.GPU {
		return events.GPU{UUID: fmt.Sprintf("GPU-%08d-0000-0000-0000-000000000000", n), Model: "NVIDIA H200", MemoryBytes: 141 << 30}
	}
	part := events.GPU{UUID: "MIG-00000004-0000-0000-0000-000000000000", Model: "NVIDIA H200 MIG 1g.18gb", MemoryBytes: 18 << 30, Parent: "GPU-00000004"}
	return Devices{GPUs: api.GPUs{GPUs: []api.GPUState{
		{Watcher: "gpu-1", GPU: h200(1), Users: 1, Yours: []string{id(15)}, Reading: &api.GPUReading{UtilisationPercent: 97, MemoryBytes: 61 << 30, PowerMilliwatts: 611_600}},
		{Watcher: "gpu-1", GPU: h200(2), Users: 1, Reading: &api.GPUReading{UtilisationPercent: 4, MemoryBytes: 1 << 30, PowerMilliwatts: 90_000}},
		{Watcher: "gpu-1", GPU: h200(3)},
		{Watcher: "gpu-1", GPU: part, Users: 2, Yours: []string{id(14), id(15)}, Reading: &api.GPUReading{UtilisationPercent: -1, MemoryBytes: 2 << 30}},
		{Watcher: "another", GPU: h200(5), Reading: &api.GPUReading{UtilisationPercent: 100, MemoryBytes: 141 << 30, PowerMilliwatts: 1}},
	}}}
}

// many are GPUs of execution 15, more than there are lines for.
func many() Devices {
	d := devices()
	for range mostDevices {
		d.GPUs.GPUs = append(d.GPUs.GPUs, d.GPUs.GPUs[0])
	}
	return d
}

func TestPictures(t *testing.T) {
	for name, w := range map[string]*world{
		"80x24":      busy(newWorld(t, nil)),
		"120x40":     busy(newWorld(t, nil).tell(tea.WindowSizeMsg{Width: 120, Height: 40})),
		"40x10":      busy(newWorld(t, nil).tell(tea.WindowSizeMsg{Width: 40, Height: 10})),
		"nothing":    newWorld(t, nil),
		"opened":     busy(newWorld(t, nil)).press("enter"),
		"question":   busy(newWorld(t, nil)).press("down", "c"),
		"filtered":   busy(newWorld(t, nil)).press("/queued"),
		"no-such":    busy(newWorld(t, nil)).press("/nowhere", "enter"),
		"gpus":       busy(newWorld(t, nil)).tell(devices()).press("up"),
		"gpus-wide":  busy(newWorld(t, nil).tell(tea.WindowSizeMsg{Width: 120, Height: 24})).tell(devices()),
		"gpus-small": busy(newWorld(t, nil).tell(tea.WindowSizeMsg{Width: 40, Height: 12})).tell(devices()).press("up"),
		"gpus-many":  busy(newWorld(t, nil)).tell(many()).press("up", "enter"),
		"in-colours": busy(newWorld(t, func(o *Options) { o.Colour = true })),
		"said":       busy(newWorld(t, nil)).tell(Said{Text: "the connection to the server is lost; waiting for it to come back"}),
	} {
		t.Run(name, func(t *testing.T) {
			got := w.m.View().Content + "\n"
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || got != string(want) {
				t.Errorf("%v; it is\n%s\nwant\n%s", err, got, want)
			}
			if name != "in-colours" && strings.Contains(got, "\x1b") {
				t.Errorf("escape sequences: %q", got)
			}
			if name == "in-colours" && ansi.Strip(got) != busy(newWorld(t, nil)).m.View().Content+"\n" {
				t.Errorf("without its colours it is another picture")
			}
		})
	}
}

// TestEveryPictureFits: whatever happens, whatever is typed, however large the terminal is, the
// picture is as large, and the cursor is on an execution that there is.
func TestEveryPictureFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, func(o *Options) { o.Colour = rapid.Bool().Draw(rt, "colour") })
		width, height := 80, 24
		live := map[int64]events.Data{}
		next := int64(1)
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 7).Draw(rt, "step") {
			case 0:
				width, height = rapid.IntRange(1, 150).Draw(rt, "width"), rapid.IntRange(1, 60).Draw(rt, "height")
				w.tell(tea.WindowSizeMsg{Width: width, Height: height})
			case 1, 2:
				w.happens(next, int(next), requested(rapid.SampledFrom([]string{"pi", "e", "日本語の関数", "long-" + strings.Repeat("x", 50)}).Draw(rt, "name")))
				live[next] = nil
				next++
			case 3:
				for n, state := range live {
					if state == nil {
						live[n] = started("w")
						w.happens(n, int(next), live[n])
					} else {
						delete(live, n)
						w.happens(n, int(next), events.ExecutionSucceeded{Attempt: 1})
					}
					break
				}
			case 4:
				w.press(rapid.SampledFrom([]string{"up", "down", "enter", "esc", "/", "p", "c", "y", "home", "end", "pgup", "pgdown", "backspace", "é"}).Draw(rt, "key"))
			case 5:
				w.tell(Printed{ID: w.m.followed, Chunks: []api.Chunk{{Data: rapid.SliceOf(rapid.Byte()).Draw(rt, "output")}}})
			case 6:
				w.tell(Tick(start.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "time")) * time.Second)))
			case 7:
				d := devices()
				for range rapid.IntRange(0, 12).Draw(rt, "more") {
					d.GPUs.GPUs[0].Yours = []string{w.m.selected}
					d.GPUs.GPUs = append(d.GPUs.GPUs, d.GPUs.GPUs[0])
				}
				w.tell(d)
			}
			lines := strings.Split(w.m.View().Content, "\n")
			if len(lines) != height {
				rt.Fatalf("%d lines on a terminal of %d", len(lines), height)
			}
			for _, line := range lines {
				if got := ansi.StringWidth(line); got != width {
					rt.Fatalf("a line of %d columns on a terminal of %d: %q", got, width, line)
				}
			}
			rows := w.m.rows()
			if on := indexOf(rows, w.m.selected); (on < 0) != (len(rows) == 0) || w.m.followed != w.m.selected {
				rt.Fatalf("the cursor is on %q of %d, output of %q", w.m.selected, len(rows), w.m.followed)
			}
		}
	})
}

func TestCursorStaysOnItsExecution(t *testing.T) {
	w := newWorld(t, nil)
	for n := range int64(3) {
		w.happens(n+1, 0, requested("pi")).happens(n+1, 1, started("w"))
	}
	w.press("up")
	if w.m.selected != id(2) {
		t.Fatalf("it is on %s", w.m.selected)
	}
	w.happens(9, 2, requested("pi")).happens(9, 3, started("w"))
	if w.m.selected != id(2) || w.followed[len(w.followed)-1] != id(2) {
		t.Errorf("a new one took the cursor to %s, followed %q", w.m.selected, w.followed)
	}
	w.happens(2, 4, events.ExecutionSucceeded{Attempt: 1}).tell(Tick(start.Add(time.Hour)))
	if w.m.selected != id(2) {
		t.Errorf("its end took the cursor to %s", w.m.selected)
	}
	w.press("up").tell(Tick(start.Add(2 * time.Hour)))
	if _, there := w.m.execs[id(2)]; there || w.m.selected != id(1) {
		t.Errorf("what ended is there: %v, the cursor on %s", there, w.m.selected)
	}
}

func TestCancelAsksFirst(t *testing.T) {
	w := newWorld(t, nil).happens(1, 0, requested("pi")).press("c", "n", "c", "enter", "c")
	if len(w.cancelled) > 0 {
		t.Fatalf("cancelled %q", w.cancelled)
	}
	if w.press("y"); len(w.cancelled) != 1 || w.cancelled[0] != id(1) {
		t.Errorf("cancelled %q", w.cancelled)
	}
	// What has ended meanwhile is not asked about any more, and y is no answer.
	w.press("c").happens(1, 1, events.ExecutionCancelRequested{By: "ana"}).happens(1, 1, events.ExecutionCancelled{}).press("y", "c", "y")
	if len(w.cancelled) != 1 {
		t.Errorf("cancelled %q", w.cancelled)
	}
}

func TestKeysThatLeave(t *testing.T) {
	if w := newWorld(t, nil).press("/", "q"); w.quit || w.m.filter != "q" {
		t.Errorf("a filter by q leaves: %v, filter %q", w.quit, w.m.filter)
	} else if !w.press("ctrl+c").quit {
		t.Error("Ctrl-C does not leave a filter")
	}
	if !newWorld(t, nil).press("q").quit {
		t.Error("q does not leave")
	}
	if w := newWorld(t, nil).press("/", "é", "x", "backspace", "backspace", "backspace"); w.m.filter != "" {
		t.Errorf("the filter is %q", w.m.filter)
	}
}

// TestEventsThatAreKnown: a list and the events that made it may come in either order.
func TestEventsThatAreKnown(t *testing.T) {
	w := newWorld(t, nil).happens(1, 0, requested("pi")).happens(1, 1, started("w"))
	e := w.m.execs[id(1)]
	if e.Status != executions.Running || e.Number != 1 {
		t.Fatalf("%+v", e)
	}
	again := newWorld(t, nil).tell(Listed{Executions: []executions.Execution{e}})
	again.happens(1, 0, requested("pi")).happens(1, 1, started("w")).happens(2, 1, started("w")) // the second began before
	if len(again.m.execs) != 1 || again.m.execs[id(1)].Sequence != e.Sequence {
		t.Errorf("%+v", again.m.execs)
	}
}

func TestOutput(t *testing.T) {
	w := newWorld(t, nil).happens(1, 0, requested("pi")).happens(1, 0, started("w")).tell(tea.WindowSizeMsg{Width: 80, Height: 12})
	for n := range 3000 {
		w.printed(1, fmt.Sprintf("line %d\n", n))
	}
	w.printed(2, "another's\n").printed(1, "\x1b]0;title\x07\x1b[2Jplain \x07\xff\n")
	all := w.m.output.all()
	if len(all) != keptLines || all[len(all)-1] != "plain �" || all[len(all)-2] != "line 2999" {
		t.Errorf("%d lines, the last %q", len(all), all[len(all)-2:])
	}
	if w.press("enter", "up"); !strings.Contains(w.m.View().Content, "line 2991") || strings.Contains(w.m.View().Content, "plain") {
		t.Errorf("scrolled up:\n%s", w.m.View().Content)
	}
	if w.press("home"); !strings.Contains(w.m.View().Content, "line 1001 ") || w.m.back != keptLines-w.m.layout().output {
		t.Errorf("at its top:\n%s", w.m.View().Content)
	}
	w.tell(Printed{ID: id(1), Anew: true, Chunks: []api.Chunk{{Data: []byte(strings.Repeat("x", 3*longest))}}})
	if all := w.m.output.all(); len(all) != 1 || len(all[0]) != longest {
		t.Errorf("%d lines, the first of %d", len(all), len(all[0]))
	}
}

// TestRates: what happened in the last ten seconds counts, whenever it is looked at.
func TestRates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r rates
		var at []int64
		now := start.Unix()
		for range rapid.IntRange(0, 50).Draw(t, "events") {
			now += rapid.Int64Range(0, 4).Draw(t, "gap")
			r.add(time.Unix(now, 0), 1, 7)
			at = append(at, now)
		}
		now += rapid.Int64Range(0, 15).Draw(t, "later")
		want := 0.0
		for _, second := range at {
			if second > now-window {
				want++
			}
		}
		runs, bytes := r.perSecond(time.Unix(now, 0))
		if math.Abs(runs*window-want) > 1e-6 || math.Abs(bytes*window-7*want) > 1e-6 {
			t.Fatalf("%f runs, %f bytes, want %f", runs*window, bytes*window, want)
		}
	})
}
