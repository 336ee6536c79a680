package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseUsage(t *testing.T) {
	stat := "77 (a) b (c) S 5 77 77 0 -1 4194560 900 3000 0 0 12 34 56 78 20 0 1 0 100 0 0"
	want := usage{parent: 5, own: spent{120 * time.Millisecond, 340 * time.Millisecond}, children: spent{560 * time.Millisecond, 780 * time.Millisecond}}
	if got := parseUsage(stat); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, gone := range []string{"", "77 (a", "77 (a) S 5"} {
		if got := parseUsage(gone); got != (usage{}) {
			t.Errorf("of %q: %+v", gone, got)
		}
	}
}

func TestPartsOf(t *testing.T) {
	at := func(parent, own, children int) usage {
		return usage{parent, spent{user: time.Duration(own)}, spent{user: time.Duration(children)}}
	}
	programs := map[int]string{20: "hermesd", 21: "hermesd", 22: "hermes-launch", 23: "init", 24: "probe", 30: "hermesd"}
	parts := partsOf(map[int]usage{
		1: at(0, 1, 1), 2: at(0, 2, 0), 3: at(2, 3, 0), 10: at(1, 10, 100), // 10 is this program
		20: at(10, 20, 200), 21: at(20, 21, 210), 22: at(21, 22, 220), 23: at(22, 23, 230), 24: at(23, 24, 0),
		30: at(1, 30, 300), // of another instance
	}, 20, 10, func(pid int) string { return programs[pid] })
	want := map[string]time.Duration{
		hermesdPart: 20, containerdPart: 21, launchPart: 22, sandboxPart: 23 + 24 + 200 + 210 + 220 + 230, kernelPart: 3, clientPart: 10,
	}
	for _, part := range costParts {
		if parts[part].user != want[part] {
			t.Errorf("%s: %d, want %d", part, parts[part].user, want[part])
		}
	}
}

func TestPrintCosts(t *testing.T) {
	r := report{Costs: []cost{{Way: "a", Runs: 10, Seconds: 2, Stored: map[string]float64{"S": 3}}}}
	for range costParts {
		r.Costs[0].Parts = append(r.Costs[0].Parts, partCost{UserMicros: 1000, SystemMicros: 500})
	}
	var out strings.Builder
	r.printCosts(&out)
	for _, want := range []string{"9.00 ms", "6.00 ms", "3.00 ms", "5/s with 8 clients", "S 3.0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
