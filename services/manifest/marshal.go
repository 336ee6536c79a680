package manifest

import (
	"bytes"
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
	PIDs            int64    `json:"pids,omitempty"`
	Tmp             any      `json:"tmp,omitempty"`
	Output          any      `json:"output,omitempty"`
	Results         any      `json:"results,omitempty"`

	Args []string          `json:"args,omitempty"`
	Env  map[string]string `json:"env,omitempty"`

	Sandbox string `json:"sandbox,omitempty"`
	Base    string `json:"base,omitempty"`
	Network string `json:"network,omitempty"`

	GPU *fileGPU `json:"gpu,omitempty"`
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

// SizeText says bytes as the keys memory, tmp, output and results may have them: "512MiB", or a plain number where
// they are no whole MiB.
func SizeText(bytes int64) string {
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
		Memory:  sizeValue(m.Config.Limits.MemoryBytes), Tmp: sizeValue(m.Config.Limits.TmpBytes),
		Output: sizeValue(m.Config.Limits.OutputBytes), Results: sizeValue(m.Config.Limits.ResultsBytes),
		PIDs: m.Config.Limits.PIDs, Args: m.Config.Args, Env: m.Config.Env,
		Sandbox: SandboxText(m.Config.ReuseSandbox),
		Base:    m.Base,
		Network: m.Config.Network,
		GPU:     gpuInFile(m.Config.GPU),
	}
	if t := m.Config.Limits.TimeoutMillis; t != 0 {
		f.Timeout = TimeoutText(t)
	}
	if c := float64(m.Config.Limits.CPUMillis) / 1000; c != 0 {
		f.CPUs = &c
	}
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false) // people read the file
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(f); err != nil {
		return nil, fmt.Errorf("write %s: %w", FileName, err)
	}
	if _, err := Parse(raw.Bytes()); err != nil {
		return nil, err
	}
	return raw.Bytes(), nil
}

// sizeValue is what the file has for bytes: text, a number where they are no whole MiB, nothing for 0.
func sizeValue(bytes int64) any {
	switch {
	case bytes == 0:
		return nil
	case bytes%(1<<20) == 0:
		return SizeText(bytes)
	}
	return bytes
}
