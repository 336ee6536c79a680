package containerd

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// layer is one thing that keeps a program inside, and how to take it away from a spec. Those without
// are taken away elsewhere: descriptors where the command is started.
type layer struct {
	name string
	off  func(w *weakening, s *specs.Spec)
}

// mountLayer cannot be taken away alone: without a mount namespace of its own a sandbox can have no
// user namespace and no masked paths.
const mountLayer = "mount"

func layers() []layer {
	return []layer{
		{"user", withoutUser},
		{"nobody", func(_ *weakening, s *specs.Spec) { s.Process.User = specs.User{} }},
		{"capabilities", withCapabilities},
		{"no_new_privs", func(_ *weakening, s *specs.Spec) { s.Process.NoNewPrivileges = false }},
		{"seccomp", func(_ *weakening, s *specs.Spec) { s.Linux.Seccomp = nil }},
		{"pid", withoutPID},
		{"ipc", func(_ *weakening, s *specs.Spec) { dropNamespace(s, specs.IPCNamespace) }},
		{"uts", withoutUTS},
		{"cgroup", func(_ *weakening, s *specs.Spec) { dropNamespace(s, specs.CgroupNamespace) }},
		{"network", withoutNetwork},
		{mountLayer, func(_ *weakening, s *specs.Spec) { dropNamespace(s, specs.MountNamespace) }},
		{"files", withHostFiles},
		{"readonly", rootWritable},
		{"nosuid", func(_ *weakening, s *specs.Spec) { dropOptions(s, "nosuid", "rnosuid") }},
		{"nodev", func(_ *weakening, s *specs.Spec) { dropOptions(s, "nodev", "rnodev") }},
		{"devices", withDevices},
		{"masks", withoutMasks},
		{"dumpable", func(w *weakening, _ *specs.Spec) { w.dumpable = true }},
		{"listener", withListener},
		{"descriptors", func(*weakening, *specs.Spec) {}},
	}
}

// weakening is a set of layers that are taken away.
type weakening struct {
	off      []string
	arms     arms
	anyPID   bool
	dumpable bool
}

func (w *weakening) lacks(name string) bool { return slices.Contains(w.off, name) }

// apply is the hook of a Runtime.
func (w *weakening) apply(s *specs.Spec) {
	for _, l := range layers() {
		if w.lacks(l.name) {
			l.off(w, s)
		}
	}
	if init := w.arms.init(w.anyPID, w.dumpable); init != "" {
		mountAt(s, initPath).Source = init
	}
}

func withoutUser(_ *weakening, s *specs.Spec) {
	dropNamespace(s, specs.UserNamespace)
	s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
}

func withCapabilities(_ *weakening, s *specs.Spec) {
	all := hostCapabilities()
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all, Inheritable: all, Ambient: all}
}

// withoutPID shows the host's processes; a /proc of its own would need a namespace of its own.
func withoutPID(w *weakening, s *specs.Spec) {
	dropNamespace(s, specs.PIDNamespace)
	*mountAt(s, "/proc") = specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind", "nosuid", "noexec", "nodev"}}
	w.anyPID = true
}

func withoutUTS(_ *weakening, s *specs.Spec) {
	dropNamespace(s, specs.UTSNamespace)
	s.Hostname = ""
}

// withoutNetwork, as withoutPID: a /sys of its own would need a network of its own.
func withoutNetwork(_ *weakening, s *specs.Spec) {
	dropNamespace(s, specs.NetworkNamespace)
	sys := mountAt(s, "/sys")
	sys.Type, sys.Source, sys.Options = "bind", "/sys", append([]string{"rbind"}, sys.Options...)
	if slices.Contains(sys.Options, "ro") {
		sys.Options = append(sys.Options, "rro")
	}
}

// hostBelow is where the attacker looks for the host's root: attack.h.
const hostBelow = "/tmp/host"

func withHostFiles(_ *weakening, s *specs.Spec) {
	s.Mounts = append(s.Mounts, specs.Mount{Destination: hostBelow, Type: "bind", Source: "/", Options: []string{"rbind", "rw"}})
}

func rootWritable(_ *weakening, s *specs.Spec) {
	s.Root.Readonly = false
	for i, m := range s.Mounts {
		if m.Type == "bind" && m.Destination != "/sys" && m.Destination != "/proc" {
			s.Mounts[i].Options = without(m.Options, "ro", "rro")
		}
	}
}

func withDevices(_ *weakening, s *specs.Spec) {
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Type: "a", Access: "rwm"}}
}

func withoutMasks(_ *weakening, s *specs.Spec) {
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	sys := mountAt(s, "/sys")
	sys.Options = without(sys.Options, "ro", "rro")
}

// withListener is a watcher that still listens on the init's socket; the init itself uses another.
func withListener(w *weakening, s *specs.Spec) {
	const other = "/tmp/init-socket"
	mountAt(s, socketPath).Destination = other
	s.Mounts = append(s.Mounts, specs.Mount{Destination: socketPath, Type: "bind", Source: w.arms.socket, Options: []string{"bind", "ro"}})
	s.Process.Args[1] = other
}

func dropNamespace(s *specs.Spec, kind specs.LinuxNamespaceType) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

func dropOptions(s *specs.Spec, options ...string) {
	for i := range s.Mounts {
		s.Mounts[i].Options = without(s.Mounts[i].Options, options...)
	}
}

func without(list []string, drop ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(drop, s) })
}

func mountAt(s *specs.Spec, destination string) *specs.Mount {
	for i := range s.Mounts {
		if s.Mounts[i].Destination == destination {
			return &s.Mounts[i]
		}
	}
	panic("the spec mounts nothing at " + destination + " among " + strings.Join(destinations(s), " "))
}

func destinations(s *specs.Spec) []string {
	var list []string
	for _, m := range s.Mounts {
		list = append(list, m.Destination)
	}
	return list
}
