package gpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hermes-serverless/hermes/events"
)

// Cause is why a holder has to end.
type Cause int

// The causes.
const (
	Faulty     Cause = iota // a device failed, or was lost
	OverMemory              // it took more of a shared device than it had asked for
	Idle                    // it did not use what it holds, and wanted to be ended then
)

// ErrNotGiven: a device cannot be had here: there is no such one, or it is out of order.
var ErrNotGiven = errors.New("the GPU cannot be given")

// Ask is what somebody wants to hold.
type Ask struct {
	// Devices are UUIDs.
	Devices []string
	// Shared: others that say the same may hold the devices too.
	Shared bool
	// MemoryBytes is the most of each shared device that its processes may take; 0 is any.
	MemoryBytes int64
	// Idle ends it; nil: never.
	Idle *events.GPUIdle
}

// Holder is who runs on devices.
type Holder struct {
	// Processes are the numbers of its processes on the machine.
	Processes func() ([]int, error)
	// End is called once at most, from a goroutine of the keeper, when it has to end.
	End func(cause Cause, why string)
	// Samples are called for once a second.
	Samples func(Samples)
}

// Hold is the right to use devices. It begins with Begin, stops with Stop and ends with Free.
type Hold struct {
	keeper  *Keeper
	ask     Ask
	devices []*device

	mu     sync.Mutex
	holder *Holder // nil unless it runs
	began  bool
	ended  bool // its holder has been told to end
	// failed is the first fault of a device since it was held.
	failed string
	meter  meter
	// pids are processes of the holder that were seen on its devices.
	pids map[int]bool
}

// Hold waits until nobody holds the devices in a way that does not go together with the ask, and
// holds them all, or none. Errors: ErrNotGiven, the context's.
func (k *Keeper) Hold(ctx context.Context, ask Ask) (*Hold, error) {
	for {
		k.read(k.known(ask.Devices)) // whether they are there and clean must be known now
		k.mu.Lock()
		h, err := k.take(ask)
		freed := k.freed
		k.mu.Unlock()
		if h != nil {
			h.start()
		}
		if h != nil || err != nil {
			return h, err
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for who held %s before: %w", strings.Join(ask.Devices, ", "), ctx.Err())
		}
	}
}

// known are those of the devices that there are.
func (k *Keeper) known(uuids []string) (known []*device) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, uuid := range uuids {
		if d := k.devices[uuid]; d != nil {
			known = append(known, d)
		}
	}
	return known
}

// take holds the devices; neither a hold nor an error: they are not free yet. The caller holds mu.
func (k *Keeper) take(ask Ask) (*Hold, error) {
	h := &Hold{keeper: k, ask: ask, pids: map[int]bool{}}
	for _, uuid := range ask.Devices {
		d := k.devices[uuid]
		switch {
		case d == nil:
			return nil, fmt.Errorf("%w: this machine has no GPU %s now", ErrNotGiven, uuid)
		case d.fault() != "":
			return nil, fmt.Errorf("%w: %s: %s", ErrNotGiven, uuid, d.fault())
		}
		h.devices = append(h.devices, d)
	}
	for _, d := range h.devices {
		for other := range d.holds {
			if !ask.Shared || !other.ask.Shared {
				return nil, nil
			}
		}
	}
	for _, d := range h.devices {
		d.holds[h] = true
	}
	return h, nil
}

// start notes how the devices are before anything of the holder's runs.
func (h *Hold) start() {
	last := h.lastReadings()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meter.start(last)
}

// lastReadings are those of its devices; zero where there is none.
func (h *Hold) lastReadings() []Reading {
	h.keeper.mu.Lock()
	defer h.keeper.mu.Unlock()
	last := make([]Reading, len(h.devices))
	for i, d := range h.devices {
		if d.last != nil {
			last[i] = *d.last
		}
	}
	return last
}

// Begin says that the holder runs from now on.
func (h *Hold) Begin(holder Holder) {
	h.mu.Lock()
	h.holder, h.began = &holder, true
	h.meter.begin(time.Now())
	failed := h.failed
	h.mu.Unlock()
	if failed != "" {
		h.end(Faulty, failed)
	}
}

// fail ends the holder because a device failed; one that does not run yet, as soon as it does. The
// caller does not hold the keeper's mu.
func (h *Hold) fail(why string) {
	h.mu.Lock()
	h.failed = cmp.Or(h.failed, why)
	h.mu.Unlock()
	h.end(Faulty, why)
}

// end tells the holder to end, once.
func (h *Hold) end(cause Cause, why string) {
	h.mu.Lock()
	holder := h.holder
	first := holder != nil && !h.ended
	h.ended = h.ended || first
	h.mu.Unlock()
	if first {
		holder.End(cause, why)
	}
}

// sample takes the last readings into account.
func (h *Hold) sample(now time.Time) {
	h.mu.Lock()
	holder := h.holder
	h.mu.Unlock()
	if holder == nil {
		return
	}
	numbers, err := holder.Processes()
	if err != nil {
		h.keeper.Log.Debug("cannot tell the processes of a sandbox", "err", err)
	}
	last := h.lastReadings()
	h.mu.Lock()
	own := h.ownMemory(numbers, last)
	seen := h.meter.add(now, last, own, h.ask.Shared)
	over := h.overMemory(own)
	idle := h.ask.Idle != nil && h.meter.idleFor(now, last, h.ask.Idle.BelowPercent) >= time.Duration(h.ask.Idle.ForMillis)*time.Millisecond
	h.mu.Unlock()
	for i := range seen.Devices {
		seen.Devices[i].UUID = h.devices[i].uuid
	}
	holder.Samples(seen)
	switch {
	case over != "":
		h.end(OverMemory, over)
	case idle:
		h.end(Idle, fmt.Sprintf("it used less than %d %% of its GPUs for %s, and wanted to be ended then",
			h.ask.Idle.BelowPercent, time.Duration(h.ask.Idle.ForMillis)*time.Millisecond))
	}
}

// ownMemory is what the holder's processes hold of each device; Unknown where the driver does not say.
func (h *Hold) ownMemory(numbers []int, last []Reading) []int64 {
	mine := map[int]bool{}
	for _, pid := range numbers {
		mine[pid] = true
	}
	own := make([]int64, len(last))
	for i, r := range last {
		for _, p := range r.Processes {
			if !mine[p.PID] {
				continue
			}
			h.pids[p.PID] = true
			if p.MemoryBytes == Unknown || own[i] == Unknown {
				own[i] = Unknown
				continue
			}
			own[i] += p.MemoryBytes
		}
	}
	return own
}

// overMemory says of which shared device it holds too much; empty: of none.
func (h *Hold) overMemory(own []int64) string {
	if !h.ask.Shared || h.ask.MemoryBytes == 0 {
		return ""
	}
	for i, bytes := range own {
		if bytes > h.ask.MemoryBytes {
			return fmt.Sprintf("it took %s of the shared GPU %s, and had asked for %s; ask for more by \"memory\" in \"gpu\"",
				humanize.IBytes(uint64(bytes)), h.devices[i].uuid, humanize.IBytes(uint64(h.ask.MemoryBytes)))
		}
	}
	return ""
}

// Stop says that the holder runs no more, and returns what it took; nil if it never began.
func (h *Hold) Stop() *events.GPUUsage {
	h.mu.Lock()
	began := h.holder != nil
	h.mu.Unlock()
	if !began {
		return nil
	}
	h.keeper.read(h.devices)
	last := h.lastReadings()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holder = nil
	return h.meter.stop(time.Now(), last)
}

// Lose takes the devices out: something of the holder's is on them and cannot be ended.
func (h *Hold) Lose(why string) {
	h.keeper.mu.Lock()
	for _, d := range h.devices {
		_ = h.keeper.takeOut(d, why) // who holds it is at its end
	}
	h.keeper.mu.Unlock()
	h.keeper.tell()
}

// Free lets go of the devices when nothing of the holder's is left on them. Nothing of the holder may
// run any more. One that is not clean in time is given to nobody until it is: then it is false, as for
// one that failed meanwhile.
func (h *Hold) Free() (inOrder bool) {
	k := h.keeper
	until := time.Now().Add(k.CleanWithin)
	for h.soils() && time.Now().Before(until) {
		time.Sleep(cleanEvery)
		k.read(h.devices)
	}
	inOrder = true
	k.mu.Lock()
	for _, d := range h.devices {
		delete(d.holds, h)
		if len(d.holds) == 0 && d.last != nil {
			d.unclean = d.leftovers(*d.last)
		}
		inOrder = inOrder && d.fault() == ""
	}
	close(k.freed)
	k.freed = make(chan struct{})
	k.mu.Unlock()
	k.tell()
	return inOrder
}

// soils says that something of the holder's is on a device that is in order otherwise.
func (h *Hold) soils() bool {
	h.keeper.mu.Lock()
	defer h.keeper.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.began {
		return false // whatever is there is not its
	}
	for _, d := range h.devices {
		switch {
		case d.gone || d.broken != "" || d.last == nil || !d.holds[h]:
		case len(d.holds) == 1:
			if d.leftovers(*d.last) != "" {
				return true
			}
		default:
			for _, p := range d.last.Processes {
				if h.pids[p.PID] {
					return true
				}
			}
		}
	}
	return false
}
