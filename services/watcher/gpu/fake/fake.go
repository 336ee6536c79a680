// Package fake is a gpu.Inventory without GPUs: it says what a test tells it to.
package fake

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	cdi "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// troublesWithin is how long Troubles waits.
const troublesWithin = 100 * time.Millisecond

// Inventory has the devices that it was given. All methods may be called from many goroutines.
type Inventory struct {
	mu       sync.Mutex
	machine  gpu.Machine
	noDriver bool
	lost     map[string]bool
	readings map[string]gpu.Reading
	hang     chan struct{} // nil: it answers
	troubles chan gpu.Trouble
	closed   chan struct{}
	once     sync.Once
}

var _ gpu.Inventory = (*Inventory)(nil)

// New returns an inventory of these devices, all idle, whose memory is empty.
func New(gpus ...events.GPU) *Inventory {
	return &Inventory{
		machine: gpu.Machine{Driver: "580.95.05", CUDA: "13.0", GPUs: gpus}, lost: map[string]bool{},
		readings: map[string]gpu.Reading{},
		troubles: make(chan gpu.Trouble, 99), closed: make(chan struct{}),
	}
}

// Whole is a GPU with this number.
func Whole(number int, model string, memoryBytes int64) events.GPU {
	return events.GPU{
		UUID: fmt.Sprintf("GPU-%08d-0000-0000-0000-000000000000", number), Model: model, MemoryBytes: memoryBytes, ComputeCapability: "9.0",
	}
}

// MIG is an instance of a GPU with this number.
func MIG(parent events.GPU, number int, profile string, memoryBytes int64) events.GPU {
	return events.GPU{
		UUID: fmt.Sprintf("MIG-%08d-0000-0000-0000-%s", number, parent.UUID[4:12]), Model: parent.Model + " MIG " + profile,
		MemoryBytes: memoryBytes, Parent: parent.UUID, Profile: profile, ComputeCapability: parent.ComputeCapability,
	}
}

// SetGPUs replaces the devices, as who partitions a GPU does.
func (i *Inventory) SetGPUs(gpus ...events.GPU) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.machine.GPUs = gpus
}

// SetDriver takes another version of the driver; none at all, if it is empty.
func (i *Inventory) SetDriver(version string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.machine.Driver, i.noDriver = version, version == ""
}

// Lose makes a device unreachable.
func (i *Inventory) Lose(uuid string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lost[uuid] = true
}

// Set changes what a device does.
func (i *Inventory) Set(uuid string, change func(*gpu.Reading)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r := i.readings[uuid]
	r.Processes = slices.Clone(r.Processes)
	change(&r)
	i.readings[uuid] = r
}

// Compute lets a process compute on a device.
func (i *Inventory) Compute(uuid string, pid int, memoryBytes int64) {
	i.Set(uuid, func(r *gpu.Reading) {
		r.Processes = append(r.Processes, gpu.Process{PID: pid, MemoryBytes: memoryBytes})
		r.MemoryBytes += max(0, memoryBytes)
		r.UtilisationPercent = 90
	})
}

// End takes a process and its memory off a device, but for what leaks.
func (i *Inventory) End(uuid string, pid int, leakedBytes int64) {
	i.Set(uuid, func(r *gpu.Reading) {
		r.Processes = slices.DeleteFunc(r.Processes, func(p gpu.Process) bool {
			if p.PID == pid {
				r.MemoryBytes -= max(0, p.MemoryBytes) - leakedBytes
			}
			return p.PID == pid
		})
		if len(r.Processes) == 0 {
			r.UtilisationPercent = 0
		}
	})
}

// Trouble tells of a fault.
func (i *Inventory) Trouble(uuid, what string) { i.troubles <- gpu.Trouble{UUID: uuid, What: what} }

// Hang lets nothing answer until the returned function is called.
func (i *Inventory) Hang() (release func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	hang := make(chan struct{})
	i.hang = hang
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.hang = nil
		close(hang)
	}
}

func (i *Inventory) await() {
	i.mu.Lock()
	hang := i.hang
	i.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

// List implements gpu.Inventory.
func (i *Inventory) List() (gpu.Machine, error) {
	i.await()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.noDriver {
		return gpu.Machine{}, gpu.ErrNoDriver
	}
	m := i.machine
	m.GPUs = slices.Clone(m.GPUs)
	return m, nil
}

// known says what is the matter with a device. The caller holds mu.
func (i *Inventory) known(uuid string) error {
	switch {
	case i.noDriver:
		return gpu.ErrNoDriver
	case i.lost[uuid], !slices.ContainsFunc(i.machine.GPUs, func(g events.GPU) bool { return g.UUID == uuid }):
		return fmt.Errorf("%s: %w", uuid, gpu.ErrLost)
	}
	return nil
}

// Read implements gpu.Inventory.
func (i *Inventory) Read(uuid string) (gpu.Reading, error) {
	i.await()
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.known(uuid); err != nil {
		return gpu.Reading{}, err
	}
	return i.readings[uuid], nil
}

// Troubles implements gpu.Inventory.
func (i *Inventory) Troubles() ([]gpu.Trouble, error) {
	select {
	case t := <-i.troubles:
		return []gpu.Trouble{t}, nil
	case <-i.closed:
	case <-time.After(troublesWithin):
	}
	return nil, nil
}

// Edits implements gpu.Inventory: its devices need nothing.
func (i *Inventory) Edits(uuids []string) (*cdi.ContainerEdits, error) {
	i.await()
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, uuid := range uuids {
		if err := i.known(uuid); err != nil {
			return nil, err
		}
	}
	return &cdi.ContainerEdits{}, nil
}

// Close implements gpu.Inventory.
func (i *Inventory) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Held are the numbers of the processes on a device.
func (i *Inventory) Held(uuid string) []int {
	i.mu.Lock()
	defer i.mu.Unlock()
	pids := map[int]bool{}
	for _, p := range i.readings[uuid].Processes {
		pids[p.PID] = true
	}
	return slices.Sorted(maps.Keys(pids))
}
