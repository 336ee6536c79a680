// hermes-init and what it hands on: its memory, its file, its socket, its descriptors.
#include "attack.h"

#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>

static int init_file(const char *name, int flags)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", init_pid, name);
	return open(path, flags | O_CLOEXEC);
}

static verdict memory(void) { return judge("opened the init's memory", init_file("mem", O_RDWR)); }

static verdict descriptors_of(void) { return judge("opened a descriptor of the init's", init_file("fd/0", O_RDONLY | O_NONBLOCK)); }

static verdict trace(void) { return judge("traced the init", ptrace(PTRACE_SEIZE, init_pid, 0, 0)); }

// The pattern of CVE-2019-5736: the file of a running program of the host, through its /proc.
static verdict exe(void) { return judge_past("opened the init's program to write", init_file("exe", O_WRONLY), ETXTBSY); }

static verdict program(void)
{
	return judge_past("opened the init's program to write", open("/.hermes/init", O_WRONLY | O_CLOEXEC), ETXTBSY);
}

// The init's connection is one of a kind: whoever got a second could give orders.
static verdict connect_again(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/.hermes/socket"};
	return judge("connected to the watcher", connect(socket(AF_UNIX, SOCK_SEQPACKET, 0), (struct sockaddr *)&address, sizeof address));
}

// The pattern of CVE-2024-21626: a folder of the host behind an inherited descriptor.
static verdict inherited(void)
{
	char path[64], target[4096];
	for (int fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t n = readlink(path, target, sizeof target - 1);
		if (n < 0) continue;
		target[n] = 0;
		if (fd > 2) return reached("inherited %d, which is %s", fd, target);
		if (holds_marker(openat(fd, fact("HOST_ARTIFACT") + 1, O_RDONLY))) return reached("left through descriptor %d", fd);
	}
	errno = EBADF;
	return held("only standard files are open, and none is a folder");
}

const struct attack init_attacks[] = {
	{"inherited-fds", inherited}, {"init-memory", memory}, {"init-fds", descriptors_of},
	{"init-trace", trace}, {"init-exe", exe}, {"init-program", program}, {"init-socket", connect_again}, {NULL, NULL},
};
