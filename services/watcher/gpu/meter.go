package gpu

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// meter adds up what a holder takes of its devices. It is in the holder's hands.
type meter struct {
	began time.Time
	// first are the readings before anything of the holder's ran.
	first []Reading
	peak  int64
	// used is the sum of count known readings of utilisation.
	used, count int64
	// millijoules are the power added up over time, for devices that do not count their energy.
	millijoules float64
	lastAt      time.Time
	lastPower   int64
	idleSince   time.Time
}

func (m *meter) start(first []Reading) { m.first = first }

func (m *meter) begin(now time.Time) { m.began, m.lastAt = now, now }

// add takes readings into account; own is what the holder's processes hold of each device. It returns
// what others are shown.
func (m *meter) add(now time.Time, last []Reading, own []int64, shared bool) Samples {
	seen := Samples{At: now}
	var memory, power int64
	for i, r := range last {
		held := max(0, r.MemoryBytes-m.first[i].MemoryBytes)
		if shared || own[i] > held {
			held = max(0, own[i])
		}
		memory += held
		power += r.PowerMilliwatts
		if r.UtilisationPercent != Unknown {
			m.used += int64(r.UtilisationPercent)
			m.count++
		}
		seen.Devices = append(seen.Devices, Sample{
			UtilisationPercent: r.UtilisationPercent, MemoryBytes: held, PowerMilliwatts: r.PowerMilliwatts,
		})
	}
	m.peak = max(m.peak, memory)
	m.burn(now, power)
	return seen
}

func (m *meter) burn(now time.Time, power int64) {
	m.millijoules += now.Sub(m.lastAt).Seconds() * float64(m.lastPower+power) / 2
	m.lastAt, m.lastPower = now, power
}

// idleFor is how long every device has been used less than the bound; 0 where one cannot be told.
func (m *meter) idleFor(now time.Time, last []Reading, below int) time.Duration {
	for _, r := range last {
		if r.UtilisationPercent == Unknown || r.UtilisationPercent >= below {
			m.idleSince = time.Time{}
			return 0
		}
	}
	if m.idleSince.IsZero() {
		m.idleSince = now
	}
	return now.Sub(m.idleSince)
}

// stop sums up.
func (m *meter) stop(now time.Time, last []Reading) *events.GPUUsage {
	u := &events.GPUUsage{Micros: now.Sub(m.began).Microseconds() * int64(len(last)), PeakMemoryBytes: m.peak}
	if m.count > 0 {
		u.MeanUtilisationPercent = int((m.used + m.count/2) / m.count)
	}
	counted := int64(0)
	for i, r := range last {
		if m.first[i].EnergyMillijoules == 0 || r.EnergyMillijoules < m.first[i].EnergyMillijoules {
			counted = Unknown
			break
		}
		counted += r.EnergyMillijoules - m.first[i].EnergyMillijoules
	}
	if u.EnergyMillijoules = counted; counted == Unknown {
		u.EnergyMillijoules = int64(m.millijoules)
	}
	return u
}
