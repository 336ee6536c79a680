package api

import "github.com/hermes-serverless/hermes/events"

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
