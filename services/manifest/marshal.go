package manifest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
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

// TimeoutText says milliseconds as the key timeout may have them: "1h30m".
func TimeoutText(millis int64) string {
	s := (time.Duration(millis) * time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MemoryText says bytes as the key memory may have them: "512MiB", or a plain number where they
// are no whole MiB.
func MemoryText(bytes int64) string {
	switch {
	case bytes%(1<<30) == 0:
		return fmt.Sprintf("%dGiB", bytes>>30)
	case bytes%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", bytes>>20)
	}
	return strconv.FormatInt(bytes, 10)
}

// CPUsText says thousandths of a core as the key cpus has them: "1.5".
func CPUsText(millis int64) string {
	return strconv.FormatFloat(float64(millis)/1000, 'f', -1, 64)
}

// Marshal writes the file. It fails, with Parse's error, for a manifest that Parse would refuse.
func Marshal(m Manifest) ([]byte, error) {
	f := file{
		FunctionName: m.Name, FunctionVersion: m.Version,
		Language: m.Config.Language, GPUCapable: m.Config.GPUCapable, Scope: m.Config.Scope,
		Handler: "./" + m.Config.Handler,
	}
	if t := m.Config.Limits.TimeoutMillis; t != 0 {
		f.Timeout = TimeoutText(t)
	}
	if b := m.Config.Limits.MemoryBytes; b != 0 {
		f.Memory = b
		if b%(1<<20) == 0 {
			f.Memory = MemoryText(b)
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
