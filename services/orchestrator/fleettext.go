package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hermes-serverless/hermes/events"
)

// maxFleetText bounds how many kinds of devices an error names.
const maxFleetText = 12

// fleetText says which GPUs there are: "2× NVIDIA H100 79.6 GiB on gpu1 (driver 550.54.15), …".
func fleetText(nodes []Node) string {
	type kind struct {
		watcher, driver string
		events.GPU
	}
	counts := map[kind]int{}
	for _, n := range nodes {
		for _, g := range n.Machine.GPUs {
			g.UUID, g.Parent, g.ComputeCapability = "", "", ""
			counts[kind{n.Name, n.Machine.Driver, g}]++
		}
	}
	kinds := make([]kind, 0, len(counts))
	for k := range counts {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.watcher, b.watcher), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Profile, b.Profile),
			cmp.Compare(a.MemoryBytes, b.MemoryBytes), cmp.Compare(a.Fault, b.Fault))
	})
	var words []string
	for i, k := range kinds {
		if i == maxFleetText {
			words = append(words, fmt.Sprintf("and %d more kinds", len(kinds)-i))
			break
		}
		words = append(words, deviceText(counts[k], k.GPU)+" on "+k.watcher+driverText(k.driver))
	}
	return strings.Join(words, ", ")
}

func deviceText(count int, g events.GPU) string {
	name := g.Model
	if g.Profile != "" && !strings.Contains(name, g.Profile) {
		name += " MIG " + g.Profile
	}
	text := fmt.Sprintf("%d× %s %.1f GiB", count, name, float64(g.MemoryBytes)/(1<<30))
	if g.Fault != "" {
		text += " (out of order: " + g.Fault + ")"
	}
	return text
}

func driverText(version string) string {
	if version == "" {
		return ""
	}
	return " (driver " + version + ")"
}
