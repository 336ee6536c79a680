package top

import (
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
)

// key heeds what somebody types.
func (m Model) key(k tea.KeyPressMsg) (Model, tea.Cmd) {
	m.said = ""
	switch {
	case k.String() == "ctrl+c":
		return m, tea.Quit
	case m.confirm != "":
		id := m.confirm
		if m.confirm = ""; k.String() == "y" {
			return m, m.o.Cancel(id)
		}
		return m, nil
	case m.filtering:
		return m.typed(k), nil
	}
	page := max(1, m.layout().rows)
	if m.opened {
		page = max(1, m.layout().output)
	}
	switch k.String() {
	case "q":
		return m, tea.Quit
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup", "b":
		m.move(-page)
	case "pgdown", "space":
		m.move(page)
	case "home", "g":
		m.move(-1 << 30)
	case "end", "G":
		m.move(1 << 30)
	case "enter":
		m.opened, m.back = !m.opened && m.selected != "", 0
	case "esc":
		if m.opened {
			m.opened = false
		} else {
			m.filter = ""
		}
	case "c":
		if e, there := m.execs[m.selected]; there && !e.Status.Final() {
			m.confirm = m.selected
		}
	case "/":
		m.filtering, m.opened = true, false
	}
	return m, nil
}

// typed edits the filter.
func (m Model) typed(k tea.KeyPressMsg) Model {
	switch k.String() {
	case "enter":
		m.filtering = false
	case "esc":
		m.filtering, m.filter = false, ""
	case "backspace":
		_, last := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-last]
	default:
		m.filter += k.Text
	}
	return m
}

// move moves the cursor down, or an opened output.
func (m *Model) move(by int) {
	if m.opened {
		most := max(0, m.output.count()-m.layout().output)
		m.back = min(max(0, m.back-by), most)
		return
	}
	rows := m.rows()
	if len(rows) == 0 {
		return
	}
	at := min(max(0, indexOf(rows, m.selected)+by), len(rows)-1)
	m.selected = rows[at].ID
}
