package containerd

import (
	"runtime"
	"slices"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// refusedCalls are taken out of containerd's default profile where it has them, and stay out if a
// later containerd lets them in. They reach into other processes or into parts of the kernel with
// a history of escapes that no function needs.
func refusedCalls() []string {
	return []string{
		"add_key", "bpf", "io_uring_enter", "io_uring_register", "io_uring_setup", "kcmp", "keyctl",
		"modify_ldt", "name_to_handle_at", "open_by_handle_at", "perf_event_open", "pidfd_getfd", "process_madvise",
		"process_vm_readv", "process_vm_writev", "ptrace", "request_key", "socketcall", "userfaultfd", "vmsplice",
	}
}

// socketCalls make sockets; socketRules say which.
func socketCalls() []string { return []string{"socket", "socketpair"} }

// socketRules allow the families that programs use. The kernel has some forty more, among them doors to
// its cryptography and to the hypervisor, that no namespace keeps apart; and netlink has twenty
// protocols, of which looking up addresses takes the one.
func socketRules() []specs.LinuxSyscall {
	allow := func(call string, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{call}, Action: specs.ActAllow, Args: args}
	}
	family := func(value uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: 0, Value: value, Op: specs.OpEqualTo}
	}
	return []specs.LinuxSyscall{
		allow("socket", family(unix.AF_UNIX)), allow("socket", family(unix.AF_INET)), allow("socket", family(unix.AF_INET6)),
		allow("socket", family(unix.AF_NETLINK), specs.LinuxSeccompArg{Index: 2, Value: unix.NETLINK_ROUTE, Op: specs.OpEqualTo}),
		allow("socketpair", family(unix.AF_UNIX)),
	}
}

// seccompProfile is containerd's default for a process without capabilities, less refusedCalls and
// all but the usual sockets, for this machine's own instruction set only: each further one costs milliseconds to compile, and
// 32-bit calls are an attack surface of their own.
func seccompProfile(spec *specs.Spec) *specs.LinuxSeccomp {
	profile := seccomp.DefaultProfile(spec)
	profile.Architectures = nativeArch()
	refused := refusedCalls()
	kept := profile.Syscalls[:0]
	for _, rule := range profile.Syscalls {
		if rule.Action == specs.ActAllow {
			rule.Names = slices.DeleteFunc(rule.Names, func(name string) bool {
				return slices.Contains(refused, name) || slices.Contains(socketCalls(), name)
			})
		}
		if len(rule.Names) > 0 {
			kept = append(kept, rule)
		}
	}
	profile.Syscalls = append(kept, socketRules()...)
	return profile
}

func nativeArch() []specs.Arch {
	switch runtime.GOARCH {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64}
	default:
		return nil // runc then takes the machine's own
	}
}
