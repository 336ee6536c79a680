package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/cuda"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// card is an NVIDIA GPU on the bus, and a network adapter of NVIDIA's, which is none.
func card() map[string]string {
	return map[string]string{
		"sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de", "sys/bus/pci/devices/0000:01:00.0/class": "0x030200",
		"sys/bus/pci/devices/0000:02:00.0/vendor": "0x10de", "sys/bus/pci/devices/0000:02:00.0/class": "0x020000",
	}
}

// driven is a machine with one card whose driver is loaded.
func driven(more map[string]string) map[string]string {
	files := card()
	for _, path := range []string{"dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia0", "proc/driver/nvidia/gpus/0000:01:00.0/information"} {
		files[path] = "x"
	}
	files["proc/driver/nvidia/version"] = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.1\nGCC"
	for path, text := range more {
		files[path] = text
	}
	return files
}

func TestGPU(t *testing.T) {
	has := func(gpus ...events.GPU) func() (gpu.Machine, error) {
		return func() (gpu.Machine, error) { return gpu.Machine{Driver: "550.1", CUDA: "12.4", GPUs: gpus}, nil }
	}
	fails := func(err error) func() (gpu.Machine, error) {
		return func() (gpu.Machine, error) { return gpu.Machine{}, err }
	}
	h100 := events.GPU{UUID: "GPU-1", Model: "NVIDIA H100"}
	broken := h100
	broken.Fault = "rows of its memory failed"
	for what, c := range map[string]struct {
		files  map[string]string
		gpus   func() (gpu.Machine, error)
		mode   os.FileMode
		want   Status
		detail string
		fix    string
	}{
		"no card":          {nil, nil, 0, OK, "no NVIDIA GPU is in this machine", ""},
		"no driver":        {card(), nil, 0, Warn, "1 NVIDIA GPU(s), and no driver", "modprobe nvidia"},
		"nouveau":          {with2(card(), "sys/module/nouveau/x", "x"), nil, 0, Warn, "nouveau", "nvidia-driver"},
		"no node":          {driven(map[string]string{"dev/nvidia-uvm": ""}), has(h100), 0o666, Warn, "/dev/nvidia-uvm", "nvidia-modprobe"},
		"closed node":      {driven(nil), has(h100), 0o660, Warn, "not for everybody", "NVreg_DeviceFileMode=0666"},
		"no library":       {driven(nil), fails(fmt.Errorf("%w: libnvidia-ml.so.1 is not on this machine", gpu.ErrNoDriver)), 0o666, Warn, "libnvidia-ml", "libnvidia-ml1"},
		"MIG, no instance": {driven(nil), has(), 0o666, Warn, "1 of 1 GPUs cannot be given: in MIG mode", "nvidia-smi mig -cgi"},
		"fault":            {driven(nil), has(broken), 0o666, Warn, "rows of its memory", "nvidia-smi -q"},
		"MIG": {driven(nil), has(events.GPU{UUID: "MIG-1", Model: "A100", Parent: "GPU-1", Profile: "1g.5gb"},
			events.GPU{UUID: "MIG-2", Model: "A100", Parent: "GPU-1", Profile: "1g.5gb"}), 0o666, OK, "2 × A100 1g.5gb", ""},
		"in order": {driven(nil), has(h100), 0o666, OK, "driver 550.1, CUDA 12.4: 1 × NVIDIA H100", ""},
	} {
		opts := machine(t, with(c.files))
		opts.GPUs = c.gpus
		nodes, err := filepath.Glob(filepath.Join(opts.Root, "dev/nvidia*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range nodes {
			if err := os.Chmod(node, c.mode); err != nil {
				t.Fatal(err)
			}
		}
		if got := resultOf(t, "gpu", opts); got.Status != c.want || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Fix, c.fix) {
			t.Errorf("%s: %+v, want %s, %q and %q", what, got, c.want, c.detail, c.fix)
		}
	}
}

func with2(files map[string]string, path, text string) map[string]string {
	files[path] = text
	return files
}

func TestToolkit(t *testing.T) {
	opts := machine(t, with(driven(nil)))
	none := opts.CUDA
	opts.CUDA = func(context.Context) cuda.Toolkit {
		return cuda.Toolkit{Bin: "/usr/local/cuda-12.4/bin", Version: "12.4"}
	}
	if got := resultOf(t, "cuda toolkit", opts); got.Status != OK || !strings.Contains(got.Detail, "nvcc 12.4 in /usr/local/cuda-12.4/bin") {
		t.Errorf("%+v", got)
	}
	// That there is an nvcc is not enough: builds see no other.
	opts.CUDA = none
	if got := resultOf(t, "cuda toolkit", opts); got.Status != Warn {
		t.Errorf("a GPU and no toolkit: %+v", got)
	}
	opts.Root = machine(t, goodFiles()).Root
	if got := resultOf(t, "cuda toolkit", opts); got.Status != OK {
		t.Errorf("neither: %+v", got)
	}
}
