// What only the administrator of a machine does. Where it can be, the arguments are wrong in a way that
// the kernel notices after it has looked at the permissions.
#include "attack.h"

#include <sys/io.h>
#include <sys/swap.h>
#include <sys/time.h>
#include <sys/timex.h>

// The first magic number is right and the second is not: nothing is ever rebooted.
static verdict restart(void) { return judge_past("reboot", syscall(SYS_reboot, 0xfee1dead, 0, 0, NULL), EINVAL); }

static verdict swap(void) { return judge_past("swapon", swapon("/tmp/none", 0), ENOENT); }

static verdict accounting(void) { return judge_past("acct", acct("/tmp/none"), ENOENT); }

static verdict load_module(void) { return judge_past("init_module", syscall(SYS_init_module, NULL, 0, ""), ENOEXEC); }

static verdict load_kernel(void) { return judge_past("kexec_load", syscall(SYS_kexec_load, 0, 17, NULL, ~0UL), EINVAL); }

static verdict kernel_log(void)
{
	char text[64];
	return judge("syslog", syscall(SYS_syslog, 3 /* SYSLOG_ACTION_READ_ALL */, text, sizeof text));
}

static verdict ports(void)
{
#if defined(__x86_64__)
	return judge("ioperm", ioperm(0x80, 1, 1));
#else
	return absent("only x86 has ports");
#endif
}

static verdict time_zone(void)
{
	struct timezone zone;
	if (syscall(SYS_gettimeofday, NULL, &zone) < 0) return held("gettimeofday");
	return judge("settimeofday", syscall(SYS_settimeofday, NULL, &zone));
}

// adjtimex is allowed for reading; this sets the status to what it is.
static verdict tune_clock(void)
{
	struct timex t = {.modes = 0};
	if (adjtimex(&t) < 0) return held("adjtimex to read");
	t.modes = ADJ_STATUS;
	return judge("adjtimex", adjtimex(&t));
}

static verdict quota(void)
{
	return judge_past("quotactl", syscall(SYS_quotactl, 0x80000100 /* Q_SYNC */, NULL, 0, NULL), ESRCH);
}

static verdict host_name(void)
{
	char name[256];
	if (gethostname(name, sizeof name) < 0) return held("gethostname");
	if (sethostname(name, strlen(name)) < 0) return held("sethostname");
	errno = EXDEV;
	return in_host_namespace("uts") ? reached("set the host's name") : held("set a name of its own");
}

const struct attack admin_attacks[] = {
	{"reboot", restart}, {"swapon", swap}, {"accounting", accounting}, {"load-module", load_module},
	{"load-kernel", load_kernel}, {"kernel-log", kernel_log}, {"ports", ports}, {"time-zone", time_zone},
	{"tune-clock", tune_clock}, {"quota", quota}, {"host-name", host_name}, {NULL, NULL},
};
