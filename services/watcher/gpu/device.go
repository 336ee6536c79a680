package gpu

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/hermes-serverless/hermes/events"
)

// restBytes is how much more than at first may be in use on a device that nobody holds: drivers keep
// more or less for themselves from one moment to the next.
const restBytes = 256 << 20

// device is what the keeper knows of one device.
type device struct {
	uuid string
	events.GPU
	holds map[*Hold]bool
	// broken is a fault of the hardware. It stays until another driver is loaded, the driver has not
	// listed the device for a while, or this process starts again: somebody has to look at it.
	broken string
	// unclean is why nobody can have it for now: something that is no holder's is on it.
	unclean string
	// silent is why nothing is known of it just now.
	silent string
	// gone: the driver does not list it any more.
	gone bool

	// last is the last reading, if there was one.
	last *Reading
	// base is the least memory that was seen in use while nobody computed on it, without what is drawn
	// with; Unknown before.
	base int64
}

func newDevice(g events.GPU) *device {
	return &device{uuid: g.UUID, GPU: g, holds: map[*Hold]bool{}, base: Unknown}
}

// fault is why it is given to nobody; empty if it is in order.
func (d *device) fault() string {
	switch {
	case d.broken != "":
		return d.broken
	case d.GPU.Fault != "":
		return d.GPU.Fault
	case d.silent != "":
		return d.silent
	}
	return d.unclean
}

// listed is the device as the fleet knows it.
func (d *device) listed() events.GPU {
	g := d.GPU
	g.Fault = d.fault()
	return g
}

// observe takes a reading and returns what it says is broken. While nobody holds the device it also
// judges whether it is clean.
func (d *device) observe(r Reading) (broken string) {
	before := d.last
	d.last, d.silent = &r, ""
	switch {
	case before == nil && r.MemoryErrors > 0:
		broken = fmt.Sprintf("%d errors of its memory could not be corrected since the driver was loaded: reset the GPU", r.MemoryErrors)
	case before != nil && r.MemoryErrors > before.MemoryErrors:
		broken = fmt.Sprintf("%d errors of its memory could not be corrected: reset the GPU", r.MemoryErrors-before.MemoryErrors)
	}
	if len(d.holds) > 0 {
		return broken
	}
	if quiet := r.MemoryBytes - r.DrawnBytes; len(r.Processes) == 0 && (d.base == Unknown || quiet < d.base) {
		d.base = quiet
	}
	d.unclean = d.leftovers(r)
	return broken
}

// leftovers says what is on a device that nobody should use; empty if it is clean.
func (d *device) leftovers(r Reading) string {
	if len(r.Processes) > 0 {
		return "in use by " + processList(r.Processes) + ", which Hermes did not start or could not end"
	}
	if quiet := r.MemoryBytes - r.DrawnBytes; d.base != Unknown && quiet > d.base+restBytes {
		return fmt.Sprintf("%s of its memory are in use by no process; it was %s",
			humanize.IBytes(uint64(quiet)), humanize.IBytes(uint64(max(0, d.base))))
	}
	return ""
}

// processList names some processes by their numbers.
func processList(processes []Process) string {
	const most = 4
	numbers := []string{}
	for _, p := range processes[:min(most, len(processes))] {
		numbers = append(numbers, fmt.Sprint(p.PID))
	}
	switch {
	case len(processes) == 1:
		return "process " + numbers[0]
	case len(processes) > most:
		numbers = append(numbers, fmt.Sprintf("and %d more", len(processes)-most))
	}
	return "processes " + strings.Join(numbers, ", ")
}
