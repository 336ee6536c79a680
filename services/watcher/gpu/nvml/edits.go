//go:build linux && cgo

package nvml

import (
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/NVIDIA/nvidia-container-toolkit/pkg/nvcdi"
	cdi "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// Edits implements gpu.Inventory. It has the toolkit's library say what NVIDIA's own containers get,
// and keeps of it what programs need to compute: neither hooks, as their program is not installed
// here, nor sockets of daemons, which lead out of a sandbox, nor what only draws pictures.
func (i *Inventory) Edits(uuids []string) (*cdi.ContainerEdits, error) {
	for _, uuid := range uuids {
		if _, err := i.open(uuid); err != nil {
			return nil, err
		}
	}
	namer, err := nvcdi.NewDeviceNamer(nvcdi.DeviceNameStrategyUUID)
	if err != nil {
		return nil, err
	}
	lib, err := nvcdi.New(
		nvcdi.WithMode(nvcdi.ModeNvml), nvcdi.WithNvmlLib(i.lib), nvcdi.WithDeviceNamers(namer),
		nvcdi.WithDriverRoot(i.root), nvcdi.WithLogger(toolkitLog{i.log}), nvcdi.WithDisabledHooks(nvcdi.AllHooks),
		nvcdi.WithFeatureFlags(nvcdi.FeatureDisableIPCDiscoverer, nvcdi.FeatureDisableNvsandboxUtils,
			nvcdi.FeatureNoAdditionalGIDsForDeviceNodes),
	)
	if err != nil {
		return nil, fmt.Errorf("ask the container toolkit for GPUs: %w", err)
	}
	common, err := i.commonEdits(lib)
	if err != nil {
		return nil, err
	}
	devices, err := lib.GetDeviceSpecsByID(uuids...)
	if err != nil {
		return nil, fmt.Errorf("find the nodes of %s: %w", strings.Join(uuids, ", "), err)
	}
	all := &cdi.ContainerEdits{}
	keep(all, common)
	for n := range devices {
		keep(all, &devices[n].ContainerEdits)
	}
	if len(all.DeviceNodes) < 2 {
		return nil, fmt.Errorf("%w: the nodes of %s are not in /dev; `hermesd doctor` says what to do", gpu.ErrLost, strings.Join(uuids, ", "))
	}
	return all, nil
}

// commonFor is how long the driver's files are not looked for again: somebody may install one that is
// missing, of which no list tells.
const commonFor = time.Minute

// common is what a container gets for any device.
type common struct {
	edits *cdi.ContainerEdits
	found time.Time
	// changes is the count of changes that it was found at.
	changes int
}

// commonEdits searches the machine for the driver's files, unless it has just done so for the same
// inventory: that takes longer than all the rest.
func (i *Inventory) commonEdits(lib nvcdi.Interface) (*cdi.ContainerEdits, error) {
	i.mu.Lock()
	known, changes := i.common, i.changes
	i.mu.Unlock()
	if known.edits != nil && known.changes == changes && time.Since(known.found) < commonFor {
		return known.edits, nil
	}
	now := time.Now()
	edits, err := lib.GetCommonEdits()
	if err != nil {
		return nil, fmt.Errorf("find the driver's files: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.common = common{edits.ContainerEdits, now, changes}
	return edits.ContainerEdits, nil
}

// keep adds what programs need to compute, once.
func keep(all, found *cdi.ContainerEdits) {
	for _, node := range found.DeviceNodes {
		known := slices.ContainsFunc(all.DeviceNodes, func(n *cdi.DeviceNode) bool { return n.Path == node.Path })
		if computes(node.Path) && !known {
			all.DeviceNodes = append(all.DeviceNodes, node)
		}
	}
	for _, mount := range found.Mounts {
		known := slices.ContainsFunc(all.Mounts, func(m *cdi.Mount) bool { return m.ContainerPath == mount.ContainerPath })
		if belongs(mount.ContainerPath) && !known {
			all.Mounts = append(all.Mounts, mount)
		}
	}
}

// computes: a node is of a GPU, an instance, or of the driver's memory management. Those that set
// screens up, and those that watch how memory moves, are nothing that a function needs.
func computes(node string) bool {
	return strings.HasPrefix(node, "/dev/nvidia") && node != "/dev/nvidia-modeset" && node != "/dev/nvidia-uvm-tools"
}

// belongs: a file is one of the driver's libraries, or the program that people look at GPUs with.
func belongs(file string) bool {
	name := path.Base(file)
	return strings.HasPrefix(name, "lib") && strings.Contains(name, ".so") || name == "nvidia-smi"
}

// toolkitLog is the log of the toolkit's library, all of which is for who debugs.
type toolkitLog struct{ log *slog.Logger }

func (l toolkitLog) say(format string, args []any) {
	l.log.Debug(fmt.Sprintf(format, args...), "from", "nvcdi")
}

func (l toolkitLog) Tracef(string, ...any)               {}
func (l toolkitLog) Debugf(string, ...any)               {}
func (l toolkitLog) Infof(format string, args ...any)    { l.say(format, args) }
func (l toolkitLog) Warningf(format string, args ...any) { l.say(format, args) }
func (l toolkitLog) Errorf(format string, args ...any)   { l.say(format, args) }
