package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/hermes-serverless/hermes/services/api"
)

// mostDevices is how many lines the GPUs of an execution have at most.
const mostDevices = 8

// machineGPUs says how many of a machine's GPUs are in use, of which models, and what they do together.
func (m Model) machineGPUs(w api.FleetWatcher) string {
	if len(w.GPUs) == 0 {
		return "-"
	}
	model, faults := strings.TrimPrefix(w.GPUs[0].Model, maker), 0
	for _, g := range w.GPUs {
		if g.Model != w.GPUs[0].Model {
			model = "mixed"
		}
		if g.Fault != "" {
			faults++
		}
	}
	text := fmt.Sprintf("%d/%d %s", w.UsedGPUs, len(w.GPUs), model)
	if faults > 0 {
		text += fmt.Sprintf(", %d faulty", faults)
	}
	if does := together(m.those(func(g api.GPUState) bool { return g.Watcher == w.Name })); does != "" {
		text += ", " + does
	}
	return text
}

// maker stands before the name of nearly every model.
const maker = "NVIDIA "

// together sums up what GPUs do: mean utilisation of those that tell it, memory in use, power of those
// that tell it. It is empty while nothing is known.
func together(all []api.GPUState) string {
	var used, tell, read int
	var memory, power int64
	for _, g := range all {
		r := g.Reading
		if r == nil {
			continue
		}
		if r.UtilisationPercent >= 0 {
			used, tell = used+r.UtilisationPercent, tell+1
		}
		read++
		memory, power = memory+max(0, r.MemoryBytes), power+max(0, r.PowerMilliwatts)
	}
	if read == 0 {
		return ""
	}
	var parts []string
	if tell > 0 {
		parts = append(parts, fmt.Sprintf("%d %%", (used+tell/2)/tell))
	}
	parts = append(parts, humanize.IBytes(uint64(memory)))
	if power > 0 {
		parts = append(parts, Power(power))
	}
	return strings.Join(parts, ", ")
}

// those are the GPUs that a question is true of.
func (m Model) those(is func(api.GPUState) bool) []api.GPUState {
	var some []api.GPUState
	for _, g := range m.gpus {
		if is(g) {
			some = append(some, g)
		}
	}
	return some
}

// devices are the GPUs that the selected execution holds.
func (m Model) devices() []api.GPUState {
	return m.those(func(g api.GPUState) bool { return m.selected != "" && slices.Contains(g.Yours, m.selected) })
}

// deviceWidths are those of the columns of a GPU's line.
var deviceWidths = []int{22, 7, 18, 8, 0}

// deviceLines are the GPUs of the selected execution, a line each; the last sums up those for which there
// is no room.
func (m Model) deviceLines(room int) []string {
	held := m.devices()
	var lines []string
	for i, g := range held[:min(len(held), room)] {
		if i == room-1 && len(held) > room {
			text := fmt.Sprintf("%d more GPUs", len(held)-i)
			if i == 0 {
				text = fmt.Sprintf("%d GPUs", len(held))
			}
			if does := together(held[i:]); does != "" {
				text += ": " + does
			}
			lines = append(lines, m.paint(colour("6"), text))
			break
		}
		power := int64(0)
		if g.Reading != nil {
			power = g.Reading.PowerMilliwatts
		}
		lines = append(lines, m.paint(colour("6"), columns(m.width, deviceWidths,
			strings.TrimPrefix(g.GPU.Model, maker), Utilisation(g.Reading), DeviceMemory(g), Power(power), g.GPU.UUID)))
	}
	return lines
}

// Utilisation says how much of the last moment a kernel ran on a GPU.
func Utilisation(r *api.GPUReading) string {
	if r == nil || r.UtilisationPercent < 0 {
		return "-"
	}
	return fmt.Sprintf("%d %%", r.UtilisationPercent)
}

// DeviceMemory says how much of a GPU's memory is in use, by whomever.
func DeviceMemory(g api.GPUState) string {
	all := humanize.IBytes(uint64(max(0, g.GPU.MemoryBytes)))
	if g.Reading == nil {
		return all
	}
	return humanize.IBytes(uint64(max(0, g.Reading.MemoryBytes))) + "/" + all
}

// Power says how much GPUs take; 0 is not known.
func Power(milliwatts int64) string {
	if milliwatts <= 0 {
		return "-"
	}
	return fmt.Sprintf("%d W", (milliwatts+500)/1000)
}
