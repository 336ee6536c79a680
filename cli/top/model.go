// Package top is the live view of `hermes top`: a model that messages change, and a picture of it. It
// has no server, no terminal and no clock of its own; who runs it brings those.
package top

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// keepEnded is how long an execution that has ended stays on the screen.
const keepEnded = 10 * time.Second

// Options are what a model is made of.
type Options struct {
	// User is whose view it is.
	User string
	// Colour says whether the picture may carry escape sequences.
	Colour bool
	// Now is the time until the first Tick.
	Now time.Time
	// Follow has the output of one execution sent, and of no other any more; "" is none.
	Follow func(id string) tea.Cmd
	// Cancel asks for the end of an execution.
	Cancel func(id string) tea.Cmd
}

// The messages by which the model hears of the world. Times are the server's.
type (
	// Listed are the executions that live, all that the model is to know of before events come.
	Listed struct{ Executions []executions.Execution }
	// Happened are events, in order; those that are in what was listed may be among them.
	Happened struct{ Events []api.ListedEvent }
	// Machines is the fleet as it is now.
	Machines struct{ Fleet api.Fleet }
	// Devices are its GPUs, with what they did last.
	Devices struct{ GPUs api.GPUs }
	// Printed is output of an execution; what came before it is gone when Anew.
	Printed struct {
		ID     string
		Chunks []api.Chunk
		Anew   bool
	}
	// Said is what a person should know now; an empty text takes it away.
	Said struct{ Text string }
	// Tick is the time.
	Tick time.Time
)

// Model is the state of the view.
type Model struct {
	o             Options
	width, height int
	now           time.Time

	execs    map[string]executions.Execution
	fleet    api.Fleet
	hasFleet bool
	gpus     []api.GPUState
	rates    rates
	output   output

	// selected is the id of the execution that the cursor is on, followed the one whose output comes.
	selected, followed string
	first              int // the first row that is shown
	opened             bool
	// back is how many lines the opened output is scrolled up.
	back      int
	filter    string
	filtering bool
	// confirm is the execution that is to be cancelled if the person says so.
	confirm string
	said    string
}

// New returns a model that knows nothing yet.
func New(o Options) Model {
	return Model{o: o, width: 80, height: 24, now: o.Now, execs: map[string]executions.Execution{}}
}

// Init implements tea.Model.
func (m Model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	before := m.rows()
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		m, cmd = m.key(msg)
	case Tick:
		m.now = time.Time(msg)
		m.forget()
	case Listed:
		m.execs = make(map[string]executions.Execution, len(msg.Executions))
		for _, e := range msg.Executions {
			m.execs[e.ID] = e
		}
	case Happened:
		for _, e := range msg.Events {
			m.happened(e)
		}
	case Machines:
		m.fleet, m.hasFleet = msg.Fleet, true
	case Devices:
		m.gpus = msg.GPUs.GPUs
	case Printed:
		m.printed(msg)
	case Said:
		m.said = msg.Text
	}
	m.settle(before)
	if m.selected != m.followed {
		m.followed, m.output, m.back = m.selected, output{}, 0
		cmd = tea.Batch(cmd, m.o.Follow(m.selected))
	}
	return m, cmd
}

// happened folds an event into what is known.
func (m *Model) happened(listed api.ListedEvent) {
	r, err := listed.Record()
	if err != nil || listed.Number == 0 {
		return // of a function, or one that this version does not know
	}
	owner, id, err := events.ParseExecutionSubject(r.Subject)
	if err != nil {
		return
	}
	known, is := m.execs[id]
	if r.Sequence <= known.Sequence {
		return
	}
	next, err := executions.Fold(known, r)
	if err != nil {
		return // it ended before the view began
	}
	next.Owner, next.Number = owner, listed.Number
	m.execs[id] = next
	if next.Status.Final() && (!is || !known.Status.Final()) {
		bytes := next.Output.StdoutBytes + next.Output.StderrBytes
		if id == m.followed {
			bytes = 0 // counted as it came
		}
		m.rates.add(m.now, 1, bytes)
	}
}

func (m *Model) printed(msg Printed) {
	if msg.ID != m.followed {
		return
	}
	if msg.Anew {
		m.output = output{}
	}
	for _, c := range msg.Chunks {
		m.output.take(c)
		if !msg.Anew {
			m.rates.add(m.now, 0, int64(len(c.Data)))
		}
	}
}

// forget lets go of what ended a while ago, unless somebody looks at it.
func (m *Model) forget() {
	for id, e := range m.execs {
		if e.Status.Final() && id != m.selected && m.now.Sub(e.EndedAt) > keepEnded {
			delete(m.execs, id)
		}
	}
}

// settle keeps the cursor on an execution: on the one that it was on, or on its neighbour.
func (m *Model) settle(before []executions.Execution) {
	rows := m.rows()
	at := indexOf(rows, m.selected)
	if at < 0 {
		at = min(max(0, indexOf(before, m.selected)), len(rows)-1)
		m.selected = ""
		if at >= 0 {
			m.selected = rows[at].ID
		}
	}
	if m.selected == "" {
		m.opened = false
	}
	if _, there := m.execs[m.confirm]; m.confirm != "" && (!there || m.execs[m.confirm].Status.Final()) {
		m.confirm = "" // there is nothing left to cancel
	}
	space := max(1, m.layout().rows)
	m.first = min(max(m.first, at-space+1), max(0, at), max(0, len(rows)-1))
	if len(rows) <= space {
		m.first = 0
	}
}
