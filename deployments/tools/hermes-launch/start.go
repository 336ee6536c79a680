package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	_ "github.com/opencontainers/cgroups/devices" // lets libcontainer set device rules
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// start is what "runc run --detach" gets.
type start struct {
	ID string `json:"id"`
	// Root is the folder of runc's state.
	Root string `json:"root"`
	// Spec is a config.json. Its paths must be absolute: there is no bundle.
	Spec json.RawMessage `json:"spec"`
}

// do starts the container and returns its init's process id.
func (s *start) do() (int, error) {
	var spec specs.Spec
	if err := json.Unmarshal(s.Spec, &spec); err != nil {
		return 0, fmt.Errorf("read the spec: %w", err)
	}
	process, err := processOf(spec.Process)
	if err != nil {
		return 0, err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: s.ID, Spec: &spec})
	if err != nil {
		return 0, fmt.Errorf("read the spec: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	process.Stdin, process.Stdout, process.Stderr = null, null, null
	container, err := libcontainer.Create(s.Root, s.ID, config)
	if err != nil {
		return 0, err
	}
	if err := container.Run(process); err != nil {
		return 0, errors.Join(err, container.Destroy())
	}
	return process.Pid()
}

// processOf translates what sandboxes use of a process, and refuses the rest: what is not
// translated would silently not hold.
func processOf(p *specs.Process) (*libcontainer.Process, error) {
	known := specs.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd, User: specs.User{UID: p.User.UID, GID: p.User.GID},
		NoNewPrivileges: p.NoNewPrivileges, Capabilities: p.Capabilities, Rlimits: p.Rlimits,
		OOMScoreAdj: p.OOMScoreAdj, // specconv's
	}
	if have, want := asJSON(p), asJSON(&known); have != want {
		return nil, fmt.Errorf("the spec's process has settings that are not supported: %s, not %s", have, want)
	}
	process := &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd, UID: int(p.User.UID), GID: int(p.User.GID),
		NoNewPrivileges: &p.NoNewPrivileges, Capabilities: &configs.Capabilities{}, Init: true,
		LogLevel: "3", // warnings
	}
	if c := p.Capabilities; c != nil {
		process.Capabilities = &configs.Capabilities{
			Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable, Permitted: c.Permitted, Ambient: c.Ambient,
		}
	}
	for _, limit := range p.Rlimits {
		kind, ok := rlimits[limit.Type]
		if !ok {
			return nil, fmt.Errorf("resource limit %s is not supported", limit.Type)
		}
		process.Rlimits = append(process.Rlimits, configs.Rlimit{Type: kind, Hard: limit.Hard, Soft: limit.Soft})
	}
	return process, nil
}

var rlimits = map[string]int{"RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE}

func asJSON(p *specs.Process) string {
	raw, err := json.Marshal(p)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
