package api

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// GPU is what a run asks of GPUs; what it leaves out is as the function's config has it.
type GPU struct {
	Count       int      `json:"count,omitempty"`
	MemoryBytes int64    `json:"memoryBytes,omitempty"`
	Models      []string `json:"models,omitempty"`
	// Share is "exclusive" or "shared".
	Share  string          `json:"share,omitempty"`
	Driver string          `json:"driver,omitempty"`
	Idle   *events.GPUIdle `json:"idle,omitempty"`
}

// GPUSamples is a message on events.GPUSubject: what the GPUs of an attempt did, at one moment or some
// that follow one another. What was printed between them is on the output's own subject.
type GPUSamples struct {
	Attempt int         `json:"attempt"`
	At      []time.Time `json:"at"`
	Devices []GPUSeries `json:"devices"`
}

// GPUSeries is one device at the moments of GPUSamples.At.
type GPUSeries struct {
	UUID string `json:"uuid"`
	// UtilisationPercent is -1 where the device does not tell it, as a MIG instance.
	UtilisationPercent []int `json:"utilisationPercent"`
	// MemoryBytes are those that the attempt holds.
	MemoryBytes []int64 `json:"memoryBytes"`
	// PowerMilliwatts is 0 where it is not known.
	PowerMilliwatts []int64 `json:"powerMilliwatts"`
}

// ExecutionGPU asks what the GPUs of one of the caller's executions did, or do.
type ExecutionGPU struct {
	ExecutionRef
	// Points is how many points a plot has at the most: 60 when 0, at most 600.
	Points int `json:"points,omitempty"`
}

// GPUPlot answers it: a point each StepMillis from From on, for each device that the last attempt was
// given. An execution without GPUs has no devices here.
type GPUPlot struct {
	Attempt    int        `json:"attempt"`
	From       time.Time  `json:"from,omitzero"`
	StepMillis int64      `json:"stepMillis,omitempty"`
	Devices    []GPUTrace `json:"devices,omitempty"`
	// Partial says why points at the end are missing; empty when all that is stored is there.
	Partial string `json:"partial,omitempty"`
}

// GPUTrace is one device at the points of a GPUPlot.
type GPUTrace struct {
	UUID string `json:"uuid"`
	// UtilisationPercent is the mean; -1 where there is no reading.
	UtilisationPercent []int `json:"utilisationPercent"`
	// MemoryBytes is the most that the execution held; -1 where there is no reading.
	MemoryBytes []int64 `json:"memoryBytes"`
	// PowerMilliwatts is the mean; 0 where there is no reading.
	PowerMilliwatts []int64 `json:"powerMilliwatts"`
}

// GPUList asks for the GPUs of the fleet.
type GPUList struct{}

// GPUs answers it.
type GPUs struct {
	GPUs []GPUState `json:"gpus"`
	// Waiting is how many executions wait for GPUs, of all users; Yours are the caller's among them.
	Waiting int      `json:"waiting"`
	Yours   []string `json:"yours,omitempty"`
}

// GPUState is a device as users see it.
type GPUState struct {
	Watcher string     `json:"watcher"`
	GPU     events.GPU `json:"gpu"`
	Driver  string     `json:"driver,omitempty"`
	CUDA    string     `json:"cuda,omitempty"`
	// Users is how many executions hold it; Yours are the ids of the caller's among them.
	Users int      `json:"users"`
	Yours []string `json:"yours,omitempty"`
	// Drained says why no new work comes to it, beside a fault; empty if it may come.
	Drained string      `json:"drained,omitempty"`
	Reading *GPUReading `json:"reading,omitempty"`
}

// GPUReading is what a device did when its watcher last renewed its lease.
type GPUReading struct {
	UUID string `json:"uuid"`
	// UtilisationPercent is -1 where the device does not tell it.
	UtilisationPercent int   `json:"utilisationPercent"`
	MemoryBytes        int64 `json:"memoryBytes"`
	PowerMilliwatts    int64 `json:"powerMilliwatts,omitempty"`
}

// GPUsSubject is where the leader says what GPUs there are, to a FleetUse.
const GPUsSubject = "hermes.queue.leader.gpus"
