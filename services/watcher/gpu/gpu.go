// Package gpu keeps the GPUs of one machine: what there is, whether it is in order, who holds it, what
// that takes of it, and that nobody gets one on which something of somebody else's is left.
//
// What the driver says comes by an Inventory: nvml is NVIDIA's, fake a scripted one, and gputest what
// both have to keep.
package gpu

import (
	"errors"
	"time"

	cdi "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/events"
)

// Errors of an Inventory, wrapped with what was asked.
var (
	// ErrNoDriver: the machine has no NVIDIA driver that answers. It may have one later.
	ErrNoDriver = errors.New("no NVIDIA driver answers")
	// ErrLost: the driver does not know the device any more, or cannot reach it.
	ErrLost = errors.New("the GPU is lost")
)

// Inventory is what the driver of a machine tells. All methods may be called from many goroutines; any
// may take long, or for ever, where a GPU hangs.
type Inventory interface {
	// List returns every device that can be given away: whole GPUs, and of those that are partitioned
	// their MIG instances. A GPU in MIG mode without instances is not there. Errors: ErrNoDriver.
	List() (Machine, error)
	// Read measures a device. Errors: ErrLost, ErrNoDriver.
	Read(uuid string) (Reading, error)
	// Troubles returns what has gone wrong since the last call, and waits a while, at most a few
	// seconds, until something does. It is called from one goroutine. Errors: ErrNoDriver.
	Troubles() ([]Trouble, error)
	// Edits is what a container needs for the devices, as CDI has it: their nodes, and the driver's
	// libraries. It has no hooks. Errors: ErrLost, ErrNoDriver.
	Edits(uuids []string) (*cdi.ContainerEdits, error)
	// Close lets go of the driver.
	Close() error
}

// Machine is what a driver has.
type Machine struct {
	// Driver is its version, and CUDA the newest version of CUDA that it runs.
	Driver, CUDA string
	// GPUs are in the driver's order. A Fault is one that the driver itself tells of.
	GPUs []events.GPU
}

// Unknown is a reading that the driver does not give for this device.
const Unknown = -1

// Reading is what a device does at a moment.
type Reading struct {
	// MemoryBytes are in use, by whomever.
	MemoryBytes int64
	// DrawnBytes of these are in the hands of programs that only draw, such as a desktop.
	DrawnBytes int64
	// UtilisationPercent is how much of the last moment a kernel ran; Unknown for most MIG instances.
	UtilisationPercent int
	// PowerMilliwatts is 0 where it is not known, as for a MIG instance.
	PowerMilliwatts int64
	// EnergyMillijoules is what it has taken since the driver was loaded; 0 where it is not known.
	EnergyMillijoules int64
	// MemoryErrors are those of its memory since the driver was loaded that could not be corrected.
	MemoryErrors int64
	// Processes compute on it.
	Processes []Process
}

// Process is one that has a device open to compute.
type Process struct {
	// PID is its number on the machine.
	PID int
	// MemoryBytes of the device that it holds; Unknown where the driver does not tell.
	MemoryBytes int64
}

// Trouble is a fault of the hardware that the driver tells of as it happens.
type Trouble struct {
	// UUID is a whole GPU's, or a MIG instance's.
	UUID string
	// What says it for people: "Xid 79: it has fallen off the bus".
	What string
}

// Sample is a reading of one device for those who look on.
type Sample struct {
	UUID               string
	UtilisationPercent int // or Unknown
	MemoryBytes        int64
	PowerMilliwatts    int64 // 0: not known
}

// Samples are those of all devices of one holder at a moment.
type Samples struct {
	At      time.Time
	Devices []Sample
}
