// hermes-init is PID 1 of a sandbox. It connects to the watcher, forks the commands that the
// watcher sends (it never becomes one itself), reaps whatever the sandbox leaves behind, and tells
// how each command ended. It ends, and with it the sandbox, when the watcher's socket closes.
//
//   hermes-init SOCKET
//
// The protocol is in ../protocol.go. Messages are packets of native-endian 32-bit words.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REQ_START = 1, REQ_SIGNAL = 2, REQ_KILL = 3 };
enum { REP_READY = 1, REP_STARTED = 2, REP_FAILED = 3, REP_ENDED = 4 };
// Where a start failed, for the watcher's message.
enum { AT_REQUEST = 1, AT_FORK = 2, AT_DIR = 3, AT_FIND = 4, AT_EXEC = 5 };

#define PROTOCOL_VERSION 1
#define WORK_DIR "/function"
#define INLINE_MAX (64 * 1024)
#define BLOB_MAX (16u * 1024 * 1024)
#define STRINGS_MAX 65536u
#define PATH_LIMIT 4096

struct request {
	uint32_t type, seq;
	uint32_t argc, envc;  // START
	uint32_t size;        // START: bytes of strings
	uint32_t in_file;     // START: the strings are in a fourth descriptor, not behind this header
	uint32_t signal;      // SIGNAL
};

struct reply {
	uint32_t type, seq;
	uint32_t a, b;   // READY: version; FAILED: where, errno; ENDED: wait status
	uint64_t cpu_us; // ENDED: CPU time of the command and all its descendants
};

struct failure {
	uint32_t where, code;
};

static int sock, signals;
static sigset_t original_mask;
static pid_t child = -1;  // the running command, -1: none
static int exec_pipe = -1; // readable until the command executes or fails to
static uint32_t child_seq;
static uint64_t cpu_before;
static struct failure exec_failure;

static union {
	struct request head;
	char bytes[sizeof(struct request) + INLINE_MAX];
} packet;

static void put(struct reply r)
{
	while (send(sock, &r, sizeof r, MSG_NOSIGNAL) < 0)
		if (errno != EINTR) _exit(70); // the watcher is gone
}

static void failed(uint32_t seq, uint32_t where, int code)
{
	put((struct reply){.type = REP_FAILED, .seq = seq, .a = where, .b = (uint32_t)code});
}

static uint64_t cpu_us(void)
{
	struct rusage u;
	getrusage(RUSAGE_CHILDREN, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

// ---- in the forked child ----

static _Noreturn void child_fails(int report, uint32_t where, int code)
{
	struct failure f = {where, (uint32_t)code};
	ssize_t n = write(report, &f, sizeof f);
	(void)n;
	_exit(127);
}

// try_exec returns why it did not execute. A file that is there but whose interpreter is not must
// not look like a missing command.
static int try_exec(const char *path, char **argv, char **env)
{
	struct stat st;
	execve(path, argv, env);
	int code = errno;
	if (code == ENOENT && stat(path, &st) == 0) return ENOEXEC;
	return code;
}

static _Noreturn void search_exec(int report, const char *search, char **argv, char **env)
{
	char path[PATH_LIMIT];
	size_t name = strlen(argv[0]);
	int found = 0;
	for (const char *dir = search;; ) {
		size_t len = strcspn(dir, ":");
		if (len + name + 2 < sizeof path) {
			memcpy(path, dir, len);
			size_t at = len;
			if (len > 0) path[at++] = '/';
			memcpy(path + at, argv[0], name + 1);
			int code = try_exec(path, argv, env);
			if (code != ENOENT && code != ENOTDIR) found = code;
		}
		if (dir[len] == 0) break;
		dir += len + 1;
	}
	if (found) child_fails(report, AT_EXEC, found);
	child_fails(report, AT_FIND, ENOENT);
}

static _Noreturn void become(int report, const int fds[3], const char *search, char **argv, char **env)
{
	// Numbers above the standard ones first, so that no dup2 overwrites a source.
	int high[3];
	for (int i = 0; i < 3; i++)
		if ((high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 10)) < 0) child_fails(report, AT_REQUEST, errno);
	for (int i = 0; i < 3; i++)
		if (dup2(high[i], i) < 0) child_fails(report, AT_REQUEST, errno);
	setsid();
	if (chdir(WORK_DIR) < 0) child_fails(report, AT_DIR, errno);
	// Ignored signals and the mask would survive exec; everything else is reset by it.
	for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
	sigprocmask(SIG_SETMASK, &original_mask, NULL);
	if (strchr(argv[0], '/') == NULL) search_exec(report, search, argv, env);
	int code = try_exec(argv[0], argv, env);
	child_fails(report, code == ENOENT || code == ENOTDIR ? AT_FIND : AT_EXEC, code);
}

// ---- in init ----

// split points list at the strings of *text, or fails when they do not fit.
static int split(char **text, char *end, char **list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		char *zero = *text < end ? memchr(*text, 0, (size_t)(end - *text)) : NULL;
		if (!zero) return -1;
		list[i] = *text;
		*text = zero + 1;
	}
	list[count] = NULL;
	return 0;
}

static int read_strings(int file, char *to, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = pread(file, to + at, size - at, (off_t)at);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return -1;
		at += (size_t)n;
	}
	return 0;
}

static void launch(const struct request *r, const int *fds, char *strings)
{
	uint32_t total = r->argc + r->envc + 2;
	char **list = calloc(total + 1, sizeof *list), *at = strings, *end = strings + r->size;
	char *search[2], **argv = list, **env = list ? list + r->argc + 1 : NULL;
	int report[2];
	if (!list) return failed(r->seq, AT_REQUEST, ENOMEM);
	if (split(&at, end, search, 1) || split(&at, end, argv, r->argc) || split(&at, end, env, r->envc)) {
		free(list);
		return failed(r->seq, AT_REQUEST, EBADMSG);
	}
	if (pipe2(report, O_CLOEXEC) < 0) {
		free(list);
		return failed(r->seq, AT_REQUEST, errno);
	}
	cpu_before = cpu_us();
	pid_t pid = fork();
	if (pid == 0) {
		close(sock);
		become(report[1], fds, search[0], argv, env);
	}
	int code = errno;
	close(report[1]);
	free(list);
	if (pid < 0) {
		close(report[0]);
		return failed(r->seq, AT_FORK, code);
	}
	child = pid;
	child_seq = r->seq;
	exec_pipe = report[0];
	exec_failure = (struct failure){0, 0};
}

static void start(const struct request *r, size_t received, const int *fds, int count)
{
	if (child > 0 || exec_pipe >= 0) return failed(r->seq, AT_REQUEST, EBUSY);
	if (count != (r->in_file ? 4 : 3) || r->argc == 0 || r->argc > STRINGS_MAX || r->envc > STRINGS_MAX || r->size > BLOB_MAX)
		return failed(r->seq, AT_REQUEST, EBADMSG);
	if (!r->in_file) {
		if (received != sizeof *r + r->size) return failed(r->seq, AT_REQUEST, EBADMSG);
		return launch(r, fds, packet.bytes + sizeof *r);
	}
	char *strings = malloc(r->size + 1);
	if (!strings) return failed(r->seq, AT_REQUEST, ENOMEM);
	if (read_strings(fds[3], strings, r->size) < 0) failed(r->seq, AT_REQUEST, EIO);
	else launch(r, fds, strings);
	free(strings);
}

// ended kills what the command left behind and waits until all of it is gone, so that the
// command's pipes are closed everywhere when the watcher hears of the end.
static void ended(int status)
{
	for (;;) {
		kill(-1, SIGKILL);
		if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD) break;
	}
	child = -1;
	put((struct reply){.type = REP_ENDED, .seq = child_seq, .a = (uint32_t)status, .cpu_us = cpu_us() - cpu_before});
}

static void reap(void)
{
	struct signalfd_siginfo info;
	ssize_t n = read(signals, &info, sizeof info);
	(void)n;
	int status;
	pid_t pid;
	while (exec_pipe < 0 && (pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == child) ended(status);
}

// executed reads the end of exec's pipe: closed without a word means that the command executes.
static void executed(void)
{
	ssize_t n;
	do n = read(exec_pipe, &exec_failure, sizeof exec_failure);
	while (n < 0 && errno == EINTR);
	close(exec_pipe);
	exec_pipe = -1;
	if (n == (ssize_t)sizeof exec_failure) {
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
		child = -1;
		return failed(child_seq, exec_failure.where, (int)exec_failure.code);
	}
	put((struct reply){.type = REP_STARTED, .seq = child_seq});
	reap(); // it may have ended already, while its start was not yet told
}

// receive reads one request with its descriptors; the watcher's end is init's end.
static void receive(void)
{
	union { struct cmsghdr align; char space[CMSG_SPACE(4 * sizeof(int))]; } control;
	struct iovec io = {packet.bytes, sizeof packet.bytes};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	int fds[4], count = 0;
	ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (n <= 0) _exit(0);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
		count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), (size_t)count * sizeof(int));
	}
	const struct request *r = &packet.head;
	if ((size_t)n < sizeof *r || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) failed(0, AT_REQUEST, EMSGSIZE);
	else if (r->type == REQ_START) start(r, (size_t)n, fds, count);
	else if (child > 0 && r->type == REQ_SIGNAL && r->seq == child_seq) kill(-child, (int)r->signal);
	else if (child > 0 && r->type == REQ_KILL && r->seq == child_seq) kill(-1, SIGKILL);
	for (int i = 0; i < count; i++) close(fds[i]);
}

static void connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path) _exit(64);
	strcpy(address.sun_path, path);
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof address) < 0) _exit(69);
}

int main(int argc, char **argv)
{
	sigset_t chld;
	// Anywhere but as PID 1 of its own namespace, kill(-1) would hit the whole machine.
	if (argc != 2 || getpid() != 1) return 64;
	// No other process of the sandbox may look into this one or at its descriptors.
	prctl(PR_SET_DUMPABLE, 0);
	// Who made this sandbox may have a higher priority; what runs in it may not.
	setpriority(PRIO_PROCESS, 0, 0);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &original_mask);
	signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0) return 71;
	connect_to(argv[1]);
	put((struct reply){.type = REP_READY, .a = PROTOCOL_VERSION});
	for (;;) {
		struct pollfd p[3] = {{sock, POLLIN, 0}, {signals, POLLIN, 0}, {exec_pipe, POLLIN, 0}};
		if (poll(p, 3, -1) < 0) continue;
		// The start is told before the end, and both before a new request is read.
		if (exec_pipe >= 0 && p[2].revents) executed();
		if (p[1].revents) reap();
		if (p[0].revents) receive();
	}
}
