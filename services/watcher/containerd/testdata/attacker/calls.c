// Parts of the kernel that no function needs and that escapes were built on: to reach them is enough.
#include "attack.h"

#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/uio.h>

static verdict unshare_user(void) { return judge("unshare", unshare(CLONE_NEWUSER)); }

static verdict clone_user(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | 17 /* SIGCHLD */, 0, 0, 0, 0);
	if (pid == 0) _exit(0);
	return judge("clone", pid);
}

static verdict clone3_user(void)
{
	struct { unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } args = {.flags = CLONE_NEWUSER, .exit_signal = 17};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0) _exit(0);
	return judge("clone3", pid);
}

static verdict keyring(void) { return judge("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1)); }

static verdict key_add(void) { return judge("add_key", syscall(SYS_add_key, "user", "escape", "x", 1, KEY_SPEC_PROCESS_KEYRING)); }

// An answer "no such key" is an answer.
static verdict key_request(void) { return judge_past("request_key", syscall(SYS_request_key, "user", "escape", NULL, 0), ENOKEY); }

static verdict bpf_map(void)
{
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	return judge("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
}

static verdict perf(void)
{
	struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1, .exclude_hv = 1};
	return judge("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
}

static verdict page_faults(void) { return judge("userfaultfd", syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */)); }

static verdict io_uring(void)
{
	unsigned params[30] = {0};
	return judge("io_uring_setup", syscall(SYS_io_uring_setup, 1, params));
}

static verdict no_randomness(void) { return judge("personality", personality(ADDR_NO_RANDOMIZE)); }

static verdict splice_memory(void)
{
	int fds[2];
	struct iovec io = {(void *)marker, sizeof marker};
	if (pipe(fds) < 0) return held("pipe");
	return judge("vmsplice", vmsplice(fds[1], &io, 1, 0));
}

// EINVAL and its like come after the kernel found the call.
static verdict advise_others(void)
{
	struct iovec io = {(void *)marker, sizeof marker};
	return judge_past("process_madvise", syscall(SYS_process_madvise, -1, &io, 1, 21, 0), EBADF);
}

static verdict watch_files(void) { return judge("fanotify_init", syscall(SYS_fanotify_init, 0x200 /* FAN_REPORT_FID */, 0)); }

#if defined(__x86_64__)
static verdict segments(void)
{
	char table[64];
	return judge("modify_ldt", syscall(SYS_modify_ldt, 0, table, sizeof table));
}

static void no_old_calls(int number)
{
	(void)number;
	absent("the kernel takes no 32-bit calls");
	_exit(TOLD);
}

// The system calls of 32 bits have numbers and bugs of their own: 20 is getpid there.
static verdict old_calls(void)
{
	long result = 20;
	signal(SIGSEGV, no_old_calls);
	__asm__ volatile("int $0x80" : "+a"(result) : : "r8", "r9", "r10", "r11", "memory");
	if (result == getpid()) return reached("called the kernel the 32-bit way");
	errno = result < 0 ? (int)-result : ENOSYS;
	return judge("int 0x80", -1);
}
#else
static verdict segments(void) { return absent("only x86 has segments"); }
static verdict old_calls(void) { return absent("only x86 has int 0x80"); }
#endif

const struct attack call_attacks[] = {
	{"unshare-user", unshare_user}, {"clone-user", clone_user}, {"clone3-user", clone3_user},
	{"keyring", keyring}, {"key-add", key_add}, {"key-request", key_request}, {"bpf", bpf_map}, {"perf", perf},
	{"page-faults", page_faults}, {"io-uring", io_uring}, {"no-randomness", no_randomness},
	{"splice-memory", splice_memory}, {"advise-others", advise_others}, {"watch-files", watch_files},
	{"segments", segments}, {"old-calls", old_calls}, {NULL, NULL},
};
