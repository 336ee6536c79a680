package top

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/dustin/go-humanize"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// layout says how many lines each part has, without their headings.
type layout struct{ machines, rows, gpus, output int }

// small is the height below which only the executions and a little output are shown.
const small = 16

func (m Model) layout() layout {
	var l layout
	rest := m.height - 2 // the first line and the last
	if m.opened {
		l.gpus = min(len(m.devices()), mostDevices, max(0, rest-2))
		l.output = max(0, rest-1-l.gpus)
		return l
	}
	if m.height >= small && len(m.fleet.Watchers) > 0 {
		l.machines = min(len(m.fleet.Watchers), max(1, m.height/6))
		rest -= l.machines + 1
	}
	l.output = m.height / 3
	if m.height < small {
		l.output = m.height / 4
	}
	l.rows = max(1, rest-l.output-2)
	l.gpus = min(len(m.devices()), mostDevices, l.output/2) // of the output's room: the rows stay where they are
	l.output -= l.gpus
	return l
}

// View implements tea.Model.
func (m Model) View() tea.View {
	v := tea.NewView(m.picture())
	v.AltScreen = true
	v.WindowTitle = "hermes top"
	return v
}

// picture is the whole screen, each line as wide as it.
func (m Model) picture() string {
	l := m.layout()
	lines := []string{m.summary()}
	if !m.opened {
		lines = append(lines, m.machines(l.machines)...)
		lines = append(lines, m.executions(l.rows)...)
	}
	lines = append(lines, m.pane(l)...)
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, min(len(lines), m.height-1))], m.foot())
	for i, line := range lines {
		lines[i] = fit(line, m.width)
	}
	return strings.Join(lines, "\n")
}

// fit makes a line as wide as the screen.
func fit(line string, width int) string {
	line = ansi.Truncate(line, max(0, width), "…")
	return line + strings.Repeat(" ", max(0, width-ansi.StringWidth(line)))
}

func (m Model) paint(style lipgloss.Style, text string) string {
	if !m.o.Colour || text == "" {
		return text
	}
	return style.Render(text)
}

func bold() lipgloss.Style              { return lipgloss.NewStyle().Bold(true) }
func faint() lipgloss.Style             { return lipgloss.NewStyle().Faint(true) }
func colour(code string) lipgloss.Style { return lipgloss.NewStyle().Foreground(lipgloss.Color(code)) }

// summary is the first line.
func (m Model) summary() string {
	running, queued := 0, 0
	for _, e := range m.execs {
		switch e.Status {
		case executions.Running:
			running++
		case executions.Queued:
			queued++
		}
	}
	runs, bytes := m.rates.perSecond(m.now)
	parts := []string{m.paint(bold(), "hermes top"), m.o.User, fmt.Sprintf("%d running, %d queued", running, queued)}
	if m.hasFleet {
		parts = append(parts, fmt.Sprintf("all users %d, %d", m.fleet.Running, m.fleet.Queued))
	}
	parts = append(parts, fmt.Sprintf("%.1f runs/s", runs), humanize.IBytes(uint64(bytes))+"/s")
	return strings.Join(parts, "   ")
}

// machines are a heading and the watchers, as many as there is room for.
func (m Model) machines(room int) []string {
	if room == 0 {
		return nil
	}
	lines := []string{m.paint(bold(), columns(m.width, machineWidths, "Machine", "State", "Slots", "CPU", "Memory", "GPUs"))}
	for i, w := range m.fleet.Watchers {
		if i == room-1 && len(m.fleet.Watchers) > room {
			lines = append(lines, fmt.Sprintf("and %d more", len(m.fleet.Watchers)-i))
			break
		}
		lines = append(lines, columns(m.width, machineWidths, w.Name, m.machineState(w.State), slots(w), Cores(w), Memory(w), m.machineGPUs(w)))
	}
	return lines
}

func (m Model) machineState(state string) string {
	switch state {
	case api.WatcherReady:
		return m.paint(colour("2"), state)
	case api.WatcherSilent:
		return m.paint(colour("1"), state)
	}
	return m.paint(colour("3"), state)
}

func slots(w api.FleetWatcher) string {
	const wide = 8
	full := 0
	if w.Slots > 0 {
		full = min(wide, (w.UsedSlots*wide+w.Slots-1)/w.Slots)
	}
	return fmt.Sprintf("[%s%s] %d/%d", strings.Repeat("#", full), strings.Repeat(" ", wide-full), w.UsedSlots, w.Slots)
}

// Cores says how many of a machine's cores are set aside.
func Cores(w api.FleetWatcher) string {
	return fmt.Sprintf("%.3g/%.3g", float64(w.UsedCPUMillis)/1000, float64(w.CPUMillis)/1000)
}

// Memory says how much of a machine's memory is set aside.
func Memory(w api.FleetWatcher) string {
	return humanize.IBytes(uint64(max(0, w.UsedMemoryBytes))) + "/" + humanize.IBytes(uint64(max(0, w.MemoryBytes)))
}

// executions are a heading and the rows that there is room for.
func (m Model) executions(room int) []string {
	rows := m.rows()
	lines := []string{m.paint(bold(), columns(m.width, runWidths(m.width), "  RunID", "Status", "Elapsed", "Function", "Machine"))}
	for i := m.first; i < len(rows) && i < m.first+room; i++ {
		lines = append(lines, m.row(rows[i]))
	}
	if len(rows) == 0 {
		text := "  Nothing runs and nothing waits."
		if m.filter != "" {
			text = fmt.Sprintf("  Nothing that runs or waits shows %q.", m.filter)
		}
		lines = append(lines, text)
	}
	for len(lines) < room+1 {
		lines = append(lines, "")
	}
	return lines[:room+1]
}

func (m Model) row(e executions.Execution) string {
	mark := "  "
	if e.ID == m.selected {
		mark = "> "
	}
	line := columns(m.width, runWidths(m.width), mark+fmt.Sprint(e.Number), m.status(e), m.elapsed(e), functionOf(e), e.Watcher)
	switch {
	case e.ID == m.selected:
		return m.paint(bold(), line)
	case e.Status.Final():
		return m.paint(faint(), line)
	}
	return line
}

func (m Model) status(e executions.Execution) string {
	text := statusOf(e)
	switch {
	case e.Status == executions.Success:
		return m.paint(colour("2"), text)
	case e.Status.Final():
		return m.paint(colour("1"), text)
	}
	return m.paint(colour("3"), text)
}

// pane is a heading, what the GPUs of the selected execution do, and its output.
func (m Model) pane(l layout) []string {
	e, there := m.execs[m.selected]
	if !there {
		return []string{strings.Repeat("─", max(0, m.width))}
	}
	title := fmt.Sprintf("── output of %d, %s ", e.Number, functionOf(e))
	lines := []string{m.paint(faint(), title+strings.Repeat("─", max(0, m.width-ansi.StringWidth(title))))}
	lines = append(lines, m.deviceLines(l.gpus)...)
	all := m.output.all()
	end := max(0, len(all)-m.back)
	return append(lines, all[max(0, end-l.output):end]...)
}

// foot is the last line: a question, the filter, what is to be known, or the keys.
func (m Model) foot() string {
	switch {
	case m.confirm != "":
		e := m.execs[m.confirm]
		return m.paint(bold(), fmt.Sprintf("Cancel execution %d of %s?  y: yes, any other key: no", e.Number, functionOf(e)))
	case m.filtering:
		return "/" + m.filter + "_"
	case m.said != "":
		return m.paint(colour("3"), m.said)
	case m.opened:
		return m.paint(faint(), "↑ ↓ scroll   enter back   c cancel   q quit")
	case m.filter != "":
		return m.paint(faint(), fmt.Sprintf("showing %q   / change   esc all   q quit", m.filter))
	}
	return m.paint(faint(), "↑ ↓ move   enter open   c cancel   / filter   q quit")
}
