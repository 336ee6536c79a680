package containerd

import (
	"fmt"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// What a sandbox is, beside the caller's limits.
const (
	nobody     = 65534 // user and group of everything inside
	hostname   = base.Hostname
	shmBytes   = 64 << 20
	tmpInodes  = 65536
	workInodes = 262144
	// resultsInodes is as many files as are kept of them, with the folder itself.
	resultsInodes = 16385
	devBytes      = 64 << 10
	openFiles     = 1024
	oomScore      = 500    // the machine's own memory shortage hits functions before services
	cpuPeriod     = 100000 // microseconds
	minimumQuota  = 1000   // microseconds; the kernel refuses less
)

// Where the init and its socket appear inside; nothing of the function's can be there.
const (
	initDir    = "/.hermes"
	initPath   = initDir + "/init"
	socketPath = initDir + "/socket"
)

// plan is everything that a container's spec is computed from.
type plan struct {
	spec       sandbox.Spec
	root       string   // host folder of the base's root filesystem
	base       []string // host paths of the base, bound read-only at the same path
	etc        string   // host folder of what sandboxes with a network find in /etc
	initBinary string
	socket     string // host path of the socket that the init connects to
	cgroup     string // path below each cgroup hierarchy
	firstID    uint32 // first host id of the range
	limits     rlimits
	heat       []string // paths that tell how hot the processors are
	swap       bool     // the kernel accounts swap, so that it can be forbidden
	given      given    // what it gets for its devices
}

// rlimits are this process's own hard limits: without CAP_SYS_RESOURCE none can be raised.
type rlimits struct {
	openFiles uint64
}

// ociSpec is the whole isolation of a sandbox.
func ociSpec(p plan) *specs.Spec {
	spec := &specs.Spec{
		Version:  specs.Version,
		Hostname: hostname,
		Root:     &specs.Root{Path: p.root, Readonly: true},
		Process:  process(p),
		Mounts:   mounts(p),
		Linux: &specs.Linux{
			CgroupsPath:   p.cgroup,
			Namespaces:    namespacesOf(),
			UIDMappings:   []specs.LinuxIDMapping{{ContainerID: 0, HostID: p.firstID, Size: idsPerRange}},
			GIDMappings:   []specs.LinuxIDMapping{{ContainerID: 0, HostID: p.firstID, Size: idsPerRange}},
			Resources:     resources(p),
			MaskedPaths:   append(maskedPaths(), p.heat...),
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	spec.Linux.Seccomp = seccompProfile(spec)
	return spec
}

// hostUser is who a sandbox's processes are on the host.
func hostUser(spec *specs.Spec) uint32 {
	inside := spec.Process.User.UID
	for _, m := range spec.Linux.UIDMappings {
		if inside >= m.ContainerID && inside-m.ContainerID < m.Size {
			return m.HostID + inside - m.ContainerID
		}
	}
	return inside
}

func process(p plan) *specs.Process {
	score := oomScore
	files := min(uint64(openFiles), p.limits.openFiles)
	return &specs.Process{
		Args:            []string{initPath, socketPath},
		Cwd:             "/",
		Env:             []string{},
		User:            specs.User{UID: nobody, GID: nobody},
		NoNewPrivileges: true,
		Capabilities:    &specs.LinuxCapabilities{},
		OOMScoreAdj:     &score,
		Rlimits: []specs.POSIXRlimit{
			{Type: "RLIMIT_CORE", Hard: 0, Soft: 0},
			{Type: "RLIMIT_NOFILE", Hard: files, Soft: files},
		},
	}
}

// namespacesOf: every namespace is the sandbox's own. In the network one there is loopback, which runc
// sets up, and nothing else, unless network.go puts it there.
func namespacesOf() []specs.LinuxNamespace {
	return []specs.LinuxNamespace{
		{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
		{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
		{Type: specs.NetworkNamespace},
	}
}

func mounts(p plan) []specs.Mount {
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: tmpfs(devBytes, 64, "0755", "noexec", "strictatime")},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: tmpfs(shmBytes, tmpInodes, "1777", "nodev", "noexec")},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: tmpfs(p.spec.Limits.TmpBytes, tmpInodes, "1777", "nodev")},
	}
	if bytes := p.spec.Limits.ResultsBytes; bytes > 0 {
		// Below /dev, as every base has that: its mount points are made when it is prepared.
		list = append(list, specs.Mount{Destination: sandbox.ResultsDir, Type: "tmpfs", Source: "results", Options: tmpfs(bytes, resultsInodes, "1777", "nodev", "noexec")})
	}
	for _, path := range p.base {
		list = append(list, readOnly(path, path))
	}
	if p.given.folder != "" {
		list = append(list, readOnly(p.given.folder, initDir))
	}
	list = append(list, readOnly(p.initBinary, initPath), readOnly(p.socket, socketPath))
	list = append(append(list, p.given.files...), p.given.nodes...)
	if p.spec.Kind == sandbox.Run {
		list = append(list, readOnly(p.spec.Dir, sandbox.FunctionDir))
	}
	if p.spec.Network == sandbox.Outbound {
		for _, name := range []string{"nsswitch.conf", "resolv.conf"} {
			list = append(list, readOnly(filepath.Join(p.etc, name), "/etc/"+name))
		}
	}
	return list // the folder of a build is mounted when its container is up: work.go
}

func tmpfs(bytes int64, inodes int, mode string, more ...string) []string {
	options := []string{"nosuid", "mode=" + mode, fmt.Sprintf("size=%d", bytes), fmt.Sprintf("nr_inodes=%d", inodes)}
	return append(options, more...)
}

// readOnly binds a host path with everything mounted below it; rro makes all of that read-only,
// where ro would mean the top only.
func readOnly(source, destination string) specs.Mount {
	return specs.Mount{
		Destination: destination, Type: "bind", Source: source,
		Options: []string{"rbind", "rprivate", "ro", "nosuid", "nodev", "rro", "rnosuid", "rnodev"},
	}
}

func resources(p plan) *specs.LinuxResources {
	memory := p.spec.Limits.MemoryBytes
	pids := p.spec.Limits.PIDs + 1 // the init is not the caller's
	quota := max(int64(p.spec.Limits.CPUs*cpuPeriod), minimumQuota)
	period := uint64(cpuPeriod)
	limits := &specs.LinuxResources{
		// runc adds null, zero and their like.
		Devices: append([]specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, p.given.rules...),
		Memory:  &specs.LinuxMemory{Limit: &memory},
		Pids:    &specs.LinuxPids{Limit: &pids},
		CPU:     &specs.LinuxCPU{Quota: &quota, Period: &period},
	}
	if p.swap {
		limits.Memory.Swap = &memory // memory and swap together: no swap
	}
	return limits
}

// heatPaths are this machine's counters of how often a core was too hot: what neighbours compute shows
// in them, as it does in /proc/interrupts.
func heatPaths() []string {
	paths, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	return paths
}

func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware", "/sys/kernel/security",
	}
}
