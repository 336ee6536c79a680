//go:build !linux || !cgo

// Package nvml is the gpu.Inventory of NVIDIA's driver. Without cgo it cannot load the driver's
// library, and says that there is no driver.
package nvml

import (
	"fmt"
	"log/slog"
	"time"

	cdi "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// Inventory has nothing.
type Inventory struct{}

var errNoCgo = fmt.Errorf("%w: this hermesd was built without cgo, which loading it takes", gpu.ErrNoDriver)

// Open returns an inventory that has nothing.
func Open(*slog.Logger) *Inventory { return &Inventory{} }

// List implements gpu.Inventory.
func (*Inventory) List() (gpu.Machine, error) { return gpu.Machine{}, errNoCgo }

// Read implements gpu.Inventory.
func (*Inventory) Read(string) (gpu.Reading, error) { return gpu.Reading{}, errNoCgo }

// Troubles implements gpu.Inventory.
func (*Inventory) Troubles() ([]gpu.Trouble, error) { time.Sleep(time.Second); return nil, errNoCgo }

// Edits implements gpu.Inventory.
func (*Inventory) Edits([]string) (*cdi.ContainerEdits, error) { return nil, errNoCgo }

// Close implements gpu.Inventory.
func (*Inventory) Close() error { return nil }
