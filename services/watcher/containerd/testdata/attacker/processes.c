// Other processes: one of the host's root (the victim), one of another sandbox (the neighbour), and the
// attacker's own, where the call itself should not be there.
#include "attack.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

static const char *const others[] = {"HOST_VICTIM", "HOST_NEIGHBOUR"};

// proc_file opens /proc/PID/NAME of one of the others, through whichever /proc there is.
static int proc_file(const char *who, const char *name, int flags)
{
	char path[4096];
	snprintf(path, sizeof path, "/proc/%ld/%s", number(who), name);
	if (in_host_namespace("pid")) return open_host(path, flags);
	char below[4200];
	snprintf(below, sizeof below, HOST "%s", path);
	return open(below, flags | O_CLOEXEC); // the number means something else in a /proc of our own
}

static verdict first_of(const char *what, int (*one)(const char *who))
{
	for (int i = 0; i < 2; i++)
		if (one(others[i])) return reached("%s %s", what, others[i] + 5);
	return held(what);
}

// Behind the name of the program stands what it is.
static int sees(const char *who)
{
	char text[4096] = "";
	int fd = proc_file(who, "cmdline", O_RDONLY);
	if (fd < 0) return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	errno = ENODATA;
	return n > 0 && strstr(text + strlen(text) + 1, who[5] == 'V' ? "victim" : "neighbour") != NULL;
}

static verdict see_others(void) { return first_of("saw", sees); }

static int reads_environ(const char *who)
{
	char text[8192];
	int fd = proc_file(who, "environ", O_RDONLY);
	if (fd < 0) return 0;
	ssize_t n = read(fd, text, sizeof text);
	errno = ENODATA;
	return n > 0 && memmem(text, (size_t)n, marker, sizeof marker - 1) != NULL;
}

static verdict others_environ(void) { return first_of("read the environment of", reads_environ); }

static int opens_memory(const char *who) { return proc_file(who, "mem", O_RDWR) >= 0; }

static verdict others_memory(void) { return first_of("opened the memory of", opens_memory); }

static int opens_fd(const char *who) { return proc_file(who, "fd/0", O_RDONLY | O_NONBLOCK) >= 0; }

static verdict others_fds(void) { return first_of("opened a descriptor of", opens_fd); }

// What everybody in there may read.
static int reads_root(const char *who)
{
	char path[4096] = "root/tmp/secret";
	if (who[5] == 'V') snprintf(path, sizeof path, "root%s", fact("HOST_ARTIFACT"));
	return holds_marker(proc_file(who, path, O_RDONLY));
}

static verdict others_root(void) { return first_of("read through the root of", reads_root); }

static int joins(const char *who)
{
	int fd = proc_file(who, "ns/mnt", O_RDONLY);
	return fd >= 0 && setns(fd, CLONE_NEWNS) == 0;
}

static verdict join_others(void) { return first_of("joined the mounts of", joins); }

// The numbers that the test gives are the host's.
static int theirs(void)
{
	if (in_host_namespace("pid")) return 1;
	errno = ESRCH;
	return 0;
}

static int signals(const char *who) { return theirs() && kill((pid_t)number(who), 0) == 0; }

static verdict signal_others(void) { return first_of("could signal", signals); }

static int traces(const char *who) { return theirs() && ptrace(PTRACE_SEIZE, number(who), 0, 0) == 0; }

static verdict trace_others(void) { return first_of("traced", traces); }

// The attackers and victims are one program without address randomization: the marker is where ours is.
static int copies(pid_t pid)
{
	char text[sizeof marker] = "";
	struct iovec here = {text, sizeof text}, there = {(void *)marker, sizeof text};
	return process_vm_readv(pid, &here, 1, &there, 1, 0) > 0;
}

static int copies_other(const char *who) { return theirs() && copies((pid_t)number(who)); }

static verdict copy_others(void) { return first_of("copied memory of", copies_other); }

static int takes_fd(const char *who)
{
	int other = theirs() ? (int)syscall(SYS_pidfd_open, number(who), 0) : -1;
	return other >= 0 && syscall(SYS_pidfd_getfd, other, 0, 0) >= 0;
}

static verdict take_others_fd(void) { return first_of("took a descriptor of", takes_fd); }

static pid_t child(void)
{
	helper = fork();
	if (helper == 0) {
		pause();
		_exit(0);
	}
	return helper;
}

static verdict trace_child(void) { return judge("ptrace", ptrace(PTRACE_SEIZE, child(), 0, 0)); }

static verdict copy_child(void) { return copies(child()) ? reached("process_vm_readv") : held("process_vm_readv"); }

static verdict take_child_fd(void)
{
	int fd = (int)syscall(SYS_pidfd_open, child(), 0);
	return judge("pidfd_getfd", fd < 0 ? -1 : syscall(SYS_pidfd_getfd, fd, 0, 0));
}

static verdict compare_child(void) { return judge("kcmp", syscall(SYS_kcmp, getpid(), child(), 1 /* KCMP_VM */, 0, 0)); }

static verdict priority(void) { return judge("a priority above others'", setpriority(PRIO_PROCESS, 0, -1)); }

const struct attack process_attacks[] = {
	{"see-others", see_others}, {"others-environ", others_environ}, {"others-memory", others_memory},
	{"others-fds", others_fds}, {"others-root", others_root}, {"join-others", join_others},
	{"signal-others", signal_others}, {"trace-others", trace_others}, {"copy-others", copy_others},
	{"take-others-fd", take_others_fd}, {"trace-child", trace_child}, {"copy-child", copy_child},
	{"take-child-fd", take_child_fd}, {"compare-child", compare_child}, {"priority", priority}, {NULL, NULL},
};
