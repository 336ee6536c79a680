package manifest

import (
	"encoding/json"
	"fmt"
	"time"
)

// file has the keys in the order in which the file shows them.
type file struct {
	FunctionName    string   `json:"functionName"`
	Language        string   `json:"language"`
	GPUCapable      bool     `json:"gpuCapable"`
	Scope           string   `json:"scope"`
	FunctionVersion string   `json:"functionVersion"`
	Handler         string   `json:"handler"`
	Timeout         string   `json:"timeout,omitempty"`
	Memory          any      `json:"memory,omitempty"`
	CPUs            *float64 `json:"cpus,omitempty"`
}

// Marshal writes the file. It fails, with Parse's error, for a manifest that Parse would refuse.
func Marshal(m Manifest) ([]byte, error) {
	f := file{
		FunctionName: m.Name, FunctionVersion: m.Version,
		Language: m.Config.Language, GPUCapable: m.Config.GPUCapable, Scope: m.Config.Scope,
		Handler: "./" + m.Config.Handler,
	}
	if t := m.Config.Limits.TimeoutMillis; t != 0 {
		f.Timeout = (time.Duration(t) * time.Millisecond).String()
	}
	if b := m.Config.Limits.MemoryBytes; b != 0 {
		f.Memory = b
		if b%(1<<20) == 0 {
			f.Memory = fmt.Sprintf("%dMiB", b>>20)
		}
	}
	if c := float64(m.Config.Limits.CPUMillis) / 1000; c != 0 {
		f.CPUs = &c
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", FileName, err)
	}
	if _, err := Parse(raw); err != nil {
		return nil, err
	}
	return append(raw, '\n'), nil
}
