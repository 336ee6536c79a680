package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// openModes let whoever is inside a sandbox use a device's node.
const openModes = 0o006

func (l looker) gpu(context.Context) Result {
	if l.read("/proc/driver/nvidia/version") == "" {
		return l.noDriver()
	}
	if r := l.nodes(); r.Status != OK {
		return r
	}
	if l.GPUs == nil {
		return ok("the NVIDIA driver is loaded")
	}
	m, err := l.GPUs()
	switch {
	case errors.Is(err, gpu.ErrNoDriver):
		return warn(err.Error(), "install NVIDIA's library of the driver's own version: apt-get install libnvidia-ml1, and reboot after an upgrade")
	case err != nil:
		return warn(err.Error(), "nvidia-smi says more")
	}
	return l.judgeGPUs(m)
}

// noDriver says why there is none: no GPU, or another driver, or none for it.
func (l looker) noDriver() Result {
	switch n := l.cards(); {
	case n == 0:
		return ok("none: no NVIDIA GPU is in this machine")
	case l.exists("/sys/module/nouveau"):
		return warn(fmt.Sprintf("%d NVIDIA GPU(s), which the kernel runs with nouveau: functions cannot compute on them", n),
			"install NVIDIA's driver, which keeps nouveau away, and reboot; on Debian: apt-get install nvidia-driver")
	default:
		return warn(fmt.Sprintf("%d NVIDIA GPU(s), and no driver is loaded", n),
			"modprobe nvidia; if there is no such module, on Debian: apt-get install nvidia-driver, and reboot")
	}
}

// cards counts the GPUs of NVIDIA's on the machine's buses.
func (l looker) cards() (n int) {
	devices, _ := filepath.Glob(filepath.Join("/", l.Root, "/sys/bus/pci/devices/*"))
	for _, device := range devices {
		at := strings.TrimPrefix(device, filepath.Clean(filepath.Join("/", l.Root)))
		if l.read(at+"/vendor") == "0x10de" && strings.HasPrefix(l.read(at+"/class"), "0x03") {
			n++
		}
	}
	return n
}

// nodes looks for the driver's nodes in /dev.
func (l looker) nodes() Result {
	found, _ := filepath.Glob(filepath.Join("/", l.Root, "/dev/nvidia[0-9]*"))
	for _, name := range []string{"/dev/nvidiactl", "/dev/nvidia-uvm"} {
		if !l.exists(name) {
			return warn("there is no "+name+": functions cannot compute", "nvidia-modprobe -u -c=0; nvidia-persistenced does it at each boot")
		}
		found = append(found, filepath.Join("/", l.Root, name))
	}
	for _, node := range found {
		info, err := os.Stat(node)
		if err == nil && info.Mode()&openModes != openModes {
			return warn(fmt.Sprintf("%s is not for everybody to read and write (%s): whoever is inside a sandbox is nobody", node, info.Mode().Perm()),
				"echo 'options nvidia NVreg_DeviceFileMode=0666' >/etc/modprobe.d/nvidia-hermes.conf, and reboot")
		}
	}
	return ok("")
}

func (l looker) judgeGPUs(m gpu.Machine) Result {
	whole := map[string]bool{}
	models := map[string]int{}
	for _, g := range m.GPUs {
		if g.Fault != "" {
			return warn(fmt.Sprintf("%s is out of order: %s", g.UUID, g.Fault), "nvidia-smi -q -i "+g.UUID)
		}
		whole[g.Physical()] = true
		models[modelOf(g)]++
	}
	known, _ := filepath.Glob(filepath.Join("/", l.Root, "/proc/driver/nvidia/gpus/*"))
	if missing := len(known) - len(whole); missing > 0 {
		return warn(fmt.Sprintf("%d of %d GPUs cannot be given: in MIG mode without an instance, or lost", missing, len(known)),
			"nvidia-smi -L; make instances by nvidia-smi mig -cgi PROFILE -C, or end the mode by nvidia-smi -mig 0")
	}
	var names []string
	for model, n := range models {
		names = append(names, fmt.Sprintf("%d × %s", n, model))
	}
	slices.Sort(names)
	return ok(fmt.Sprintf("driver %s, CUDA %s: %s", m.Driver, m.CUDA, strings.Join(names, ", ")))
}

func modelOf(g events.GPU) string {
	if g.Profile != "" && !strings.Contains(g.Model, g.Profile) {
		return g.Model + " " + g.Profile
	}
	return g.Model
}

// toolkit looks for what functions in CUDA are built with on base host.
func (l looker) toolkit(ctx context.Context) Result {
	if found := l.CUDA(ctx); found.Bin != "" {
		return ok(strings.TrimSpace("nvcc "+found.Version) + " in " + found.Bin + ", for functions in CUDA on base host")
	}
	if l.read("/proc/driver/nvidia/version") == "" {
		return ok("none: functions in CUDA cannot be built on base host here")
	}
	return warn("no CUDA toolkit: functions in CUDA can be run, but not built on base host here",
		"apt-get install nvidia-cuda-toolkit, or NVIDIA's into /usr/local/cuda: builds see none outside /usr")
}
