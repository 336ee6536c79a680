package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hermes-serverless/hermes/"

type goPackage struct {
	ImportPath string
	Name       string
	Doc        string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func within(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return path == f || strings.HasPrefix(path, strings.TrimSuffix(f, "/")+"/")
	})
}

// services are those that must not know one another; what they share is a library or the API.
var services = []string{"services/registry", "services/orchestrator", "services/accounts", "services/retention", "services/watcher"}

// TestImportLaw enforces who may import what. Test files are free.
func TestImportLaw(t *testing.T) {
	for _, p := range listPackages(t) {
		from, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok {
			continue
		}
		for _, path := range p.Imports {
			if why := forbidden(from, path); why != "" {
				t.Errorf("%s imports %s: %s", from, path, why)
			}
		}
	}
}

func forbidden(from, path string) string {
	to, own := strings.CutPrefix(path, module)
	isStandard := !strings.Contains(strings.SplitN(path, "/", 2)[0], ".")
	switch {
	case isStandard:
		return ""
	case from == "events":
		return "events knows nothing but the standard library"
	case within(from, "projections") && !within(from, "projections/projector", "projections/foldtest"):
		if !within(to, "events", "projections") || within(to, "projections/projector") || within(to, "events/log", "events/streams") {
			return "a fold sees events and views only"
		}
	case within(path, "github.com/containerd/containerd"):
		if !within(from, "services/watcher/containerd") {
			return "containerd is the business of services/watcher/containerd alone"
		}
	case within(path, "github.com/NVIDIA"):
		if !within(from, "services/watcher/gpu/nvml") {
			return "NVIDIA's driver is the business of services/watcher/gpu/nvml alone"
		}
	case within(path, "github.com/prometheus"):
		if !within(from, "services/hermesd/metrics") {
			return "the parts keep plain counters; services/hermesd/metrics alone shows them to Prometheus"
		}
	case within(path, "github.com/nats-io/nats-server/v2/server"):
		if !within(from, "services/hermesd", "events/natstest") {
			return "the NATS server is embedded by hermesd alone, and by tests"
		}
	case within(path, "github.com/nats-io/nats.go"):
		return forbiddenNATS(from)
	case own:
		return forbiddenOwn(from, to)
	}
	return ""
}

func forbiddenNATS(from string) string {
	if within(from, "events/log/jslog", "events/streams", "events/natstest", "projections/projector", "services", "cli", "deployments/bench") &&
		!within(from, "services/manifest", "services/bundle", "services/watcher/sandbox", "services/watcher/containerd", "services/watcher/doctor", "services/watcher/fake", "services/watcher/gpu") {
		return ""
	}
	return "this package decides or isolates; it does not talk to NATS"
}

func forbiddenOwn(from, to string) string {
	for _, service := range services {
		if within(to, service) && within(from, slices.DeleteFunc(slices.Clone(services), func(s string) bool { return s == service })...) {
			return "a service never imports another; they meet through events and services/api"
		}
	}
	switch {
	case within(to, "services/hermesd") && !within(from, "services/hermesd", "deployments/bench/scale"):
		return "hermesd wires; nobody imports it, but for the benchmark that is an instance itself"
	case within(from, "cli") && within(to, "services") && !within(to, "services/api", "services/manifest", "services/bundle", "services/moment", "services/commandline"):
		return "the CLI knows the API, the libraries for a function's folder and those for command lines and moments only"
	case within(from, "events") && !within(to, "events"):
		return "events stands below everything"
	case within(to, "cli") && !within(from, "cli", "deployments/bench"):
		return "nobody imports the CLI, but for the benchmark, which is a client like it"
	}
	return ""
}

// TestPackagesAreDocumented: each package says what it is for.
func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
