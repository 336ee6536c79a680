package instance

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/cuda"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// describeMachine says what this machine offers.
func describeMachine(slots int, version string, info sandbox.Info, toolkit cuda.Toolkit) (events.Machine, error) {
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return events.Machine{}, fmt.Errorf("ask for the machine's memory: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return events.Machine{}, fmt.Errorf("ask for the host's name: %w", err)
	}
	if slots == 0 {
		slots = 2 * runtime.NumCPU()
	}
	return events.Machine{
		Host: host, Version: version, Runtime: strings.TrimSpace(info.Name + " " + info.Version), Slots: slots,
		// A tenth is for the machine itself.
		MemoryBytes: int64(memory.Totalram) * int64(memory.Unit) / 10 * 9,
		CPUMillis:   int64(runtime.NumCPU()) * 1000,
		CPUModel:    cpuModel(),
		Bases:       info.Bases, Languages: languages(toolkit), Network: info.Network,
	}, nil
}

// maxCPUModel bounds the processor's name, in bytes.
const maxCPUModel = 128

// cpuModel is the processor's name, empty where the kernel does not tell it.
func cpuModel() string {
	raw, _ := os.ReadFile("/proc/cpuinfo")
	return cpuModelOf(string(raw))
}

func cpuModelOf(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		key, name, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == "model name" {
			name = strings.ToValidUTF8(strings.Join(strings.Fields(name), " "), "")
			return strings.ToValidUTF8(name[:min(len(name), maxCPUModel)], "")
		}
	}
	return ""
}

// languages that this machine can build on its own /usr, which base host is.
func languages(toolkit cuda.Toolkit) []string {
	has := func(program string) bool { _, err := exec.LookPath(program); return err == nil }
	if !has("make") || !has("g++") {
		return nil
	}
	if toolkit.Bin != "" {
		return []string{"cpp", "cuda"}
	}
	return []string{"cpp"}
}
