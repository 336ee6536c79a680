// Files that are switches of the kernel: /proc, /sys and cgroups.
#include "attack.h"

static verdict core_pattern(void) { return rewrite("/proc/sys/kernel/core_pattern"); }

static verdict vm_setting(void) { return rewrite("/proc/sys/vm/overcommit_memory"); }

static verdict modprobe_path(void) { return rewrite("/proc/sys/kernel/modprobe"); }

static verdict irq_affinity(void) { return rewrite("/proc/irq/default_smp_affinity"); }

static verdict sys_setting(void) { return rewrite("/sys/kernel/mm/ksm/run"); }

static verdict uevent_helper(void) { return rewrite("/sys/kernel/uevent_helper"); }

static verdict huge_pages(void)
{
	int fd = open_host("/sys/kernel/mm/transparent_hugepage/khugepaged/defrag", O_WRONLY);
	return fd < 0 && errno == ENOENT ? absent("it is not there") : judge("opened a switch of /sys to write", fd);
}

// Opened and no more: each byte written there is obeyed.
static verdict sysrq(void)
{
	int fd = open_host("/proc/sysrq-trigger", O_WRONLY);
	return fd < 0 && errno == ENOENT ? absent("the kernel has no sysrq") : judge("opened sysrq-trigger", fd);
}

static verdict kernel_memory(void)
{
	char header[4];
	int fd = open_host("/proc/kcore", O_RDONLY);
	if (fd < 0) return errno == ENOENT ? absent("the kernel has no kcore") : held("open");
	errno = ENODATA;
	return read(fd, header, 4) == 4 && memcmp(header, "\177ELF", 4) == 0 ? reached("read /proc/kcore") : held("read");
}

static verdict kernel_addresses(void)
{
	char line[256];
	unsigned long address = 0;
	FILE *f = fopen("/proc/kallsyms", "r");
	if (!f) return errno == ENOENT ? absent("the kernel has no kallsyms") : held("open");
	for (int i = 0; i < 1000 && fgets(line, sizeof line, f); i++)
		if ((address = strtoul(line, NULL, 16)) != 0) return reached("learned a kernel address");
	errno = ENODATA;
	return held("all addresses are 0");
}

// What other tenants do shows in the rate of interrupts and in how hot the cores are.
static verdict readable(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return errno == ENOENT ? absent("it is not there") : held("open");
	errno = ENODATA;
	return read(fd, &byte, 1) == 1 ? reached("read %s", path) : held("read");
}

static verdict interrupts(void) { return readable("/proc/interrupts"); }

static verdict heat(void) { return readable("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"); }

static verdict timers(void) { return readable("/proc/timer_list"); }

static verdict firmware(void) { return readable("/sys/firmware/acpi/tables/DSDT"); }

// Who owns cgroup v1's release agent has a program of their choice run by the host's root.
static verdict release_agent(void)
{
	return number("HOST_CGROUP2") ? absent("cgroup version 2 has none") : rewrite("/sys/fs/cgroup/memory/release_agent");
}

static verdict own_limit(void)
{
	char path[4096];
	if (number("HOST_CGROUP2")) snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", fact("HOST_CGROUP"));
	else snprintf(path, sizeof path, "/sys/fs/cgroup/memory%s/memory.limit_in_bytes", fact("HOST_CGROUP"));
	return rewrite(path);
}

// To the hierarchy's root, where no limit is. Only this process goes there, and ends.
static verdict leave_cgroup(void)
{
	int fd = open_host(number("HOST_CGROUP2") ? "/sys/fs/cgroup/cgroup.procs" : "/sys/fs/cgroup/memory/cgroup.procs", O_WRONLY);
	if (fd < 0) return held("open");
	return judge("left the cgroup", write(fd, "0\n", 2));
}

static verdict see_cgroup(void)
{
	char line[4096];
	FILE *f = fopen("/proc/self/cgroup", "r");
	while (f && fgets(line, sizeof line, f))
		if (strstr(line, fact("HOST_CGROUP"))) return reached("sees its place in the host's cgroups");
	errno = ENODATA;
	return held("every path is /");
}

const struct attack kernel_file_attacks[] = {
	{"core-pattern", core_pattern}, {"vm-setting", vm_setting}, {"modprobe-path", modprobe_path},
	{"irq-affinity", irq_affinity}, {"sys-setting", sys_setting}, {"uevent-helper", uevent_helper},
	{"huge-pages", huge_pages}, {"sysrq", sysrq}, {"kernel-memory", kernel_memory},
	{"kernel-addresses", kernel_addresses}, {"interrupts", interrupts}, {"heat", heat}, {"timers", timers},
	{"firmware", firmware}, {"release-agent", release_agent}, {"own-limit", own_limit},
	{"leave-cgroup", leave_cgroup}, {"see-cgroup", see_cgroup}, {NULL, NULL},
};
