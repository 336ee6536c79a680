package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func (l looker) root(context.Context) Result {
	if id := l.UserID(); id != 0 {
		return broken(fmt.Sprintf("user %d cannot make containers", id), "sudo hermesd up")
	}
	return ok("running as root")
}

// oldestKernel can make a mount and all below it read-only (mount_setattr).
var oldestKernel = [2]int{5, 12}

func (l looker) kernel(context.Context) Result {
	release := l.read("/proc/sys/kernel/osrelease")
	var version [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &version[0], &version[1]); err != nil {
		return broken(fmt.Sprintf("release %q is not a Linux version", release), "run hermesd on Linux")
	}
	if slices.Compare(version[:], oldestKernel[:]) < 0 {
		return broken("Linux "+release+" is older than 5.12, which can first make whole mount trees read-only", "upgrade the kernel, on Debian: apt-get dist-upgrade")
	}
	return ok("Linux " + release)
}

func (l looker) cgroups(context.Context) Result {
	needed := []string{"cpu", "memory", "pids"}
	version := "version 2"
	has := strings.Fields(l.read("/sys/fs/cgroup/cgroup.controllers"))
	if len(has) == 0 {
		version = "version 1"
		for _, controller := range needed {
			if l.exists("/sys/fs/cgroup/" + controller + "/cgroup.procs") {
				has = append(has, controller)
			}
		}
	}
	if len(has) == 0 {
		return broken("no cgroup file system at /sys/fs/cgroup", "mount -t cgroup2 none /sys/fs/cgroup")
	}
	var missing []string
	for _, controller := range needed {
		if !slices.Contains(has, controller) {
			missing = append(missing, controller)
		}
	}
	if len(missing) > 0 {
		return broken(version+" without the controllers "+strings.Join(missing, ", "),
			"boot with cgroup_enable=memory systemd.unified_cgroup_hierarchy=1, or look in /proc/cgroups for what is disabled")
	}
	return ok(version + " with " + strings.Join(needed, ", "))
}

func (l looker) userNamespaces(context.Context) Result {
	if !l.exists("/proc/self/ns/user") {
		return broken("the kernel is built without user namespaces", "use a kernel with CONFIG_USER_NS")
	}
	limit, err := strconv.Atoi(l.read("/proc/sys/user/max_user_namespaces"))
	if err == nil && limit == 0 {
		return broken("user namespaces are switched off", "sysctl -w user.max_user_namespaces=65536")
	}
	return ok(fmt.Sprintf("at most %d", limit))
}

func (l looker) seccomp(context.Context) Result {
	actions := strings.Fields(l.read("/proc/sys/kernel/seccomp/actions_avail"))
	if !slices.Contains(actions, "errno") {
		return broken("the kernel has no seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER")
	}
	return ok("filters are available")
}

func (l looker) compilers(context.Context) Result {
	var missing []string
	for _, program := range []string{"g++", "make"} {
		if _, err := l.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return warn("base host has no "+strings.Join(missing, " and no ")+": functions that need them cannot be built on it",
			"apt-get install --no-install-recommends "+strings.Join(missing, " "))
	}
	return ok("g++ and make, for functions on base host")
}

func (l looker) baseBuilder(context.Context) Result {
	if _, err := l.LookPath("mmdebstrap"); err != nil {
		return ok("no mmdebstrap: `hermesd base build` needs it (apt-get install mmdebstrap); import and pull do not")
	}
	return ok("mmdebstrap, for `hermesd base build`")
}
